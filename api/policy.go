package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"bulkhead/configs"
	"bulkhead/gateway"
)

// PolicyRequest asks the daemon to change the policy of a tenant, or of the gateway, object by object: all of it or
// nothing.
type PolicyRequest struct {
	// Statements are lines of a policy file, as [configs.ParseChange] takes them.
	Statements []string `json:"statements"`
}

// PolicyAnswer says what became of a PolicyRequest.
type PolicyAnswer struct {
	// Changes is the number of statements that are in force now.
	Changes int `json:"changes"`
	// Refused is why nothing was changed.
	Refused string `json:"refused,omitempty"`
	// Error is why the changes, which are in force and written down, are not carried out yet; the daemon goes on trying.
	Error string `json:"error,omitempty"`
}

// maxPolicy bounds a PolicyRequest in bytes: some hundred thousand statements.
const maxPolicy = 64 << 20

// ChangePolicy makes the daemon change the policy of the named tenant or gateway. The error tells why it refused, or what it
// could not carry out yet.
func (c *Client) ChangePolicy(ctx context.Context, name string, statements []string) (*PolicyAnswer, error) {
	if name == "" || name == "." || name == ".." { // which make no path
		return nil, fmt.Errorf("%q is not the name of a tenant or gateway; nothing was changed", name)
	}
	body, err := json.Marshal(PolicyRequest{Statements: statements})
	if err != nil {
		return nil, err
	}
	var answer PolicyAnswer
	if err := c.call(ctx, http.MethodPost, policyPath+url.PathEscape(name), bytes.NewReader(body), &answer); err != nil {
		return nil, err
	}
	switch {
	case answer.Refused != "":
		return nil, fmt.Errorf("the daemon refused to change the policy of %s; nothing was changed:\n%s", name, answer.Refused)
	case answer.Error != "":
		return nil, fmt.Errorf("the policy of %s is changed, but not carried out yet; the daemon goes on trying:\n%s", name,
			answer.Error)
	}
	return &answer, nil
}

func (s *Server) policy(w http.ResponseWriter, r *http.Request) {
	var request PolicyRequest
	if !decode(w, r, "policy", maxPolicy, &request) {
		return
	}
	select {
	case <-s.started:
	case <-r.Context().Done():
		return
	}
	answer := s.change(r.PathValue("name"), request.Statements)
	s.log.Info("policy", "name", r.PathValue("name"), "changes", answer.Changes, "refused", answer.Refused,
		"complete", answer.Error == "" && answer.Refused == "")
	s.answer(w, answer)
}

// change makes the changes. Like what is applied, they are finished even if the asker goes away.
func (s *Server) change(name string, statements []string) PolicyAnswer {
	changes, err := parseStatements(statements)
	if err != nil {
		return PolicyAnswer{Refused: err.Error()}
	}
	var kept *gateway.KeptError
	switch err := s.gateway.Change(s.life, name, changes); {
	case errors.As(err, &kept):
		return PolicyAnswer{Changes: len(changes), Error: err.Error()}
	case err != nil:
		return PolicyAnswer{Refused: err.Error()}
	}
	return PolicyAnswer{Changes: len(changes)}
}

// parseStatements parses all of them and tells what is wrong with the first few.
func parseStatements(statements []string) ([]configs.Change, error) {
	const most = 10
	var errs []error
	changes := make([]configs.Change, 0, len(statements))
	for i, text := range statements {
		change, err := configs.ParseChange(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("statement %d: %w", i+1, err))
		}
		if len(errs) == most {
			break
		}
		changes = append(changes, change)
	}
	return changes, errors.Join(errs...)
}
