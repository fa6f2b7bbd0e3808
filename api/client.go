package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Client talks to the daemon of one runtime folder.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the daemon whose runtime folder is runDir.
func NewClient(runDir string) *Client {
	socket := filepath.Join(runDir, SocketName)
	var dialer net.Dialer
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Apply makes the daemon take up a folder, given by its absolute path. The error tells why the folder was refused, or
// what of it could not be brought about. Of a folder with mistakes it wraps them ([configs.Problems]).
func (c *Client) Apply(ctx context.Context, dir string) (*ApplyAnswer, error) {
	body, err := json.Marshal(ApplyRequest{Config: dir})
	if err != nil {
		return nil, err
	}
	var answer ApplyAnswer
	if err := c.call(ctx, http.MethodPost, applyPath, bytes.NewReader(body), &answer); err != nil {
		return nil, err
	}
	switch {
	case len(answer.Problems) > 0:
		return nil, fmt.Errorf("the daemon refused %s; nothing was changed:\n%w", dir, answer.Problems)
	case answer.Refused != "":
		return nil, fmt.Errorf("the daemon could not take up %s; nothing was changed:\n%s", dir, answer.Refused)
	case answer.Error != "":
		return nil, fmt.Errorf("not all of %s could be brought about; the daemon goes on trying:\n%s", dir, answer.Error)
	}
	return &answer, nil
}

// Show reads a view (see [Views]) into rows, a pointer to a slice of the view's type.
func (c *Client) Show(ctx context.Context, view string, rows any) error {
	return c.ShowChosen(ctx, view, nil, rows)
}

// ShowChosen reads what a query chooses of a view, such as [BGPQuery].
func (c *Client) ShowChosen(ctx context.Context, view string, query url.Values, rows any) error {
	return c.call(ctx, http.MethodGet, showPath+view+"?"+query.Encode(), nil, rows)
}

// post asks for something that has no answer but its error.
func (c *Client) post(ctx context.Context, path string) error {
	answer, err := c.do(ctx, http.MethodPost, path, nil)
	if err != nil {
		return err
	}
	return answer.Close()
}

func (c *Client) call(ctx context.Context, method, path string, body io.Reader, answer any) error {
	reading, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer reading.Close()
	if err := json.NewDecoder(reading).Decode(answer); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

// do asks the daemon and returns its answer, which the caller closes.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://bulkhead"+path, body)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("no daemon answers at %s; is `bulkhead daemon` running, with the same --run-dir?", c.socket)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("%s: only root may talk to the daemon", c.socket)
	case err != nil:
		return nil, fmt.Errorf("ask the daemon: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		defer response.Body.Close()
		reason, _ := io.ReadAll(io.LimitReader(response.Body, 1<<16))
		return nil, fmt.Errorf("the daemon says: %s", strings.TrimSpace(string(reason)))
	}
	return response.Body, nil
}
