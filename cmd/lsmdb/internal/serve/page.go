package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/db"
	"lsmdb/db/debug"
)

// Page is a page that is being shown.
type Page struct {
	URL    string // with a word that nobody can guess: other users of the machine reach the port, too
	server *http.Server
	ended  chan error // of serving; one is sent, and nobody closes it
}

// Show listens on the loopback interface and shows the page of a database until Close. A port
// of 0 is a free one.
func Show(d *db.DB, port int) (*Page, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, exit.Failf(exit.Failed, "cannot listen on port %d: %s", port, exit.Plain(err))
	}
	prefix := "/" + strings.ToLower(rand.Text()) + "/"
	p := &Page{
		URL: "http://" + listener.Addr().String() + prefix,
		server: &http.Server{
			Handler:           local(prefix, debug.Handler(d)),
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    16 << 10,
			ErrorLog:          log.New(io.Discard, "", 0),
		},
		ended: make(chan error, 1),
	}
	go func() { p.ended <- p.server.Serve(listener) }()
	return p, nil
}

// Close ends the page, also for those who look at it.
func (p *Page) Close() error {
	err := p.server.Close()
	if ended := <-p.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// Announce prints where the page is.
func (p *Page) Announce(c *console.Console) error {
	if c.JSON {
		return c.PrintJSON(map[string]string{"url": p.URL})
	}
	c.Printf("%s\n", p.URL)
	c.Notef("Open this address in a browser on this machine. Ctrl-C ends it.\n")
	return nil
}

// Until waits until ctx ends, or the page does by itself, which is an error.
func (p *Page) Until(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.ended:
		p.ended <- err
		return fmt.Errorf("the page ended: %w", err)
	}
}

// local lets only those in who know the address, which begins with prefix. The name must be
// that of the loopback interface: otherwise a page from elsewhere has had its own name point
// here.
func local(prefix string, h http.Handler) http.Handler {
	page := http.StripPrefix(strings.TrimSuffix(prefix, "/"), h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		switch {
		case host != "127.0.0.1" && host != "localhost" && host != "[::1]" && host != "::1":
			http.Error(w, "this page is for 127.0.0.1 only", http.StatusMisdirectedRequest)
		case !strings.HasPrefix(r.URL.Path, prefix):
			http.Error(w, "open the whole address that lsmdb has printed", http.StatusNotFound)
		default:
			page.ServeHTTP(w, r)
		}
	})
}
