package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// defaultTimeout bounds whatever the caller's context does not bound.
const defaultTimeout = 5 * time.Second

// Protocols of Serve and Fetch.
const (
	TCP  = "tcp"
	UDP  = "udp"
	HTTP = "http"
)

// Reply is what a server says to a client.
type Reply struct {
	// Content names the server: what Serve was given.
	Content string `json:"content"`
	// Client is the client's address as the server saw it.
	Client netip.AddrPort `json:"client"`
	// Local is the client's address as the client saw it, set by Fetch.
	Local netip.AddrPort `json:"-"`
}

// Server answers every client with the content it was made with and the client's address.
type Server struct {
	content string
	closer  io.Closer
	mu      sync.Mutex
	clients []netip.AddrPort
	done    sync.WaitGroup
}

// Serve starts a server on all addresses of the node. It stops with Close, or with the lab.
func (n *Node) Serve(protocol string, port uint16, content string) (*Server, error) {
	s := &Server{content: content}
	at := netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	if protocol == UDP {
		conn, err := n.ListenPacket(at)
		if err != nil {
			return nil, err
		}
		s.closer = conn
		s.done.Go(func() { s.serveUDP(conn) })
	} else {
		listener, err := n.Listen(at)
		if err != nil {
			return nil, err
		}
		s.closer = listener
		if protocol == HTTP {
			s.serveHTTP(listener)
		} else {
			s.done.Go(func() { s.serveTCP(listener) })
		}
	}
	n.lab.onClose(s.Close)
	return s, nil
}

// Clients are the addresses of those who asked, in order.
func (s *Server) Clients() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.clients)
}

// Close stops the server. Closing it again does nothing.
func (s *Server) Close() error {
	err := s.closer.Close()
	s.done.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Server) reply(client netip.AddrPort) []byte {
	client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
	s.mu.Lock()
	s.clients = append(s.clients, client)
	s.mu.Unlock()
	// A struct of a string and an address always marshals.
	b, _ := json.Marshal(Reply{Content: s.content, Client: client})
	return b
}

func (s *Server) serveUDP(conn *net.UDPConn) {
	buffer := make([]byte, 2048)
	for {
		_, client, err := conn.ReadFromUDPAddrPort(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Other errors are ICMP's answers to earlier replies, and a reply that cannot be sent is the client's to miss.
		if err == nil {
			_, _ = conn.WriteToUDPAddrPort(s.reply(client), client)
		}
	}
}

func (s *Server) serveTCP(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		// One short write fits the socket's buffer, so a client that does not read holds nobody up.
		_ = conn.SetDeadline(time.Now().Add(defaultTimeout))
		_, _ = conn.Write(s.reply(remote(conn)))
		_ = conn.Close()
	}
}

func (s *Server) serveHTTP(listener net.Listener) {
	server := &http.Server{
		ReadHeaderTimeout: defaultTimeout,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			client, err := netip.ParseAddrPort(r.RemoteAddr)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			_, _ = w.Write(s.reply(client))
		}),
	}
	s.closer = server
	s.done.Go(func() { _ = server.Serve(listener) })
}

// Fetch asks a server of Serve. The error tells what kept it, the deadline of the context (5 s without) included.
func (n *Node) Fetch(ctx context.Context, protocol string, from netip.AddrPort) (Reply, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	ask := map[string]func(context.Context, netip.AddrPort) ([]byte, net.Addr, error){
		TCP: n.fetchTCP, UDP: n.fetchUDP, HTTP: n.fetchHTTP,
	}[protocol]
	var reply Reply
	body, local, err := ask(ctx, from)
	if err == nil {
		err = json.Unmarshal(body, &reply)
	}
	if err != nil {
		return Reply{}, fmt.Errorf("%s fetches from %s %v: %w", n.Name, protocol, from, err)
	}
	reply.Local = addrPort(local)
	return reply, nil
}

func (n *Node) fetchTCP(ctx context.Context, from netip.AddrPort) ([]byte, net.Addr, error) {
	conn, err := n.Dial(ctx, "tcp", from)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(io.LimitReader(conn, 1<<16))
	return body, conn.LocalAddr(), err
}

// fetchUDP asks again every quarter of a second: requests get lost, the first one to a tunnel that dials always.
func (n *Node) fetchUDP(ctx context.Context, from netip.AddrPort) ([]byte, net.Addr, error) {
	conn, err := n.Dial(ctx, "udp", from)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = conn.Close() }()
	buffer := make([]byte, 2048)
	for {
		_, errWrite := conn.Write([]byte("who?"))
		if err := conn.SetReadDeadline(time.Now().Add(250 * time.Millisecond)); err != nil {
			return nil, nil, err
		}
		size, errRead := conn.Read(buffer)
		if errRead == nil {
			return buffer[:size], conn.LocalAddr(), nil
		}
		// ICMP's "unreachable" ends a read at once; what is left of the quarter is waited for all the same.
		var timeout net.Error
		if !errors.As(errRead, &timeout) || !timeout.Timeout() {
			wait(ctx, 250*time.Millisecond)
		}
		if ctx.Err() != nil {
			return nil, nil, errors.Join(ctx.Err(), errWrite, errRead)
		}
	}
}

func (n *Node) fetchHTTP(ctx context.Context, from netip.AddrPort) ([]byte, net.Addr, error) {
	var local net.Addr
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := n.Dial(ctx, "tcp", from)
			if err == nil {
				local = conn.LocalAddr()
			}
			return conn, err
		},
	}
	defer transport.CloseIdleConnections()
	url := "http://" + net.JoinHostPort(from.Addr().String(), strconv.Itoa(int(from.Port()))) + "/"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP status %s", response.Status)
	}
	return body, local, err
}

// wait waits, but not beyond the context's end.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func remote(conn net.Conn) netip.AddrPort { return addrPort(conn.RemoteAddr()) }

// addrPort reads the address of a TCP or UDP socket; the zero value stands for any other.
func addrPort(a net.Addr) netip.AddrPort {
	p, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(p.AddrPort().Addr().Unmap(), p.AddrPort().Port())
}
