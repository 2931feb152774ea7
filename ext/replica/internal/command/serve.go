package command

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/spf13/cobra"

	"lsmdb/ext/replica"
	"lsmdb/ext/replica/internal/server"
)

const serveHelp = `Runs a node until it is interrupted.

The founders of a cluster are given to each of them as the same list of --member. A node
without --member, in a new directory, waits until it is added: POST /members on another one.

  lsmdb-node serve --id a --dir a --listen 127.0.0.1:7401 --http 127.0.0.1:8401 \
    --member a=127.0.0.1:7401 --member b=127.0.0.1:7402 --member c=127.0.0.1:7403
  curl -X PUT --data-binary red http://127.0.0.1:8401/kv/fruit/apple
  curl http://127.0.0.1:8402/kv/fruit/apple

Whoever reaches the ports can read and write everything. So an address that others reach
needs --tls-cert, --tls-key and --tls-ca: then only those who show a certificate that the CA
has signed get through, to either port. On 127.0.0.1 the HTTP port is without TLS.`

// serving is what the flags say.
type serving struct {
	config       replica.Config
	http         string
	hosts        []string
	members      []string
	cert         string
	key          string
	ca           string
	verbose      bool
	raft         *raft.Config
	out, errs    io.Writer
	httpSecurity *tls.Config
}

func newServe(out, errs io.Writer) *cobra.Command {
	s := &serving{raft: raft.DefaultConfig(), out: out, errs: errs}
	cmd := &cobra.Command{
		Use: "serve --id ID --dir DIR", Short: "Run a node", Long: serveHelp, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := s.check(); err != nil {
				return usage{err}
			}
			return s.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.config.ID, "id", "", "name of the node, which no other one ever had")
	f.StringVar(&s.config.Dir, "dir", "", "directory of the node")
	f.StringVar(&s.config.Listen, "listen", "127.0.0.1:7400", "address for other nodes")
	f.StringVar(&s.http, "http", "127.0.0.1:7480", "address for programs and curl")
	f.StringArrayVar(&s.members, "member", nil, "a founder, as ID=HOST:PORT; once for each")
	f.StringArrayVar(&s.hosts, "http-host", nil, "a further host name for which HTTP requests are answered")
	f.StringVar(&s.cert, "tls-cert", "", "certificate of this node, PEM")
	f.StringVar(&s.key, "tls-key", "", "its key, PEM")
	f.StringVar(&s.ca, "tls-ca", "", "certificates that sign those of the others, PEM")
	f.Uint64Var(&s.raft.SnapshotThreshold, "snapshot-threshold", s.raft.SnapshotThreshold, "log entries after which a snapshot is taken")
	f.DurationVar(&s.raft.SnapshotInterval, "snapshot-interval", s.raft.SnapshotInterval, "how often that is looked at")
	f.Uint64Var(&s.raft.TrailingLogs, "trailing-logs", s.raft.TrailingLogs, "log entries that a snapshot leaves")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "write what Raft does to standard error")
	return cmd
}

// check completes the configuration.
func (s *serving) check() error {
	if s.config.ID == "" || s.config.Dir == "" {
		return errors.New("--id and --dir are needed")
	}
	for _, m := range s.members {
		id, address, ok := strings.Cut(m, "=")
		if _, _, err := net.SplitHostPort(address); !ok || id == "" || err != nil {
			return fmt.Errorf("--member is %q, and should be like a=127.0.0.1:7401", m)
		}
		s.config.Members = append(s.config.Members, replica.Member{ID: id, Address: address})
	}
	if err := s.security(); err != nil {
		return err
	}
	for flag, address := range map[string]string{"--listen": s.config.Listen, "--http": s.http} {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return fmt.Errorf("%s is %q, and should be like 127.0.0.1:7400", flag, address)
		}
		if s.config.TLS == nil && !loopback(host) {
			return fmt.Errorf("%s %s can be reached by others, who could read and write everything: it needs --tls-cert, --tls-key and --tls-ca", flag, address)
		}
		if flag == "--http" && !loopback(host) {
			s.httpSecurity = s.config.TLS
			s.hosts = append(s.hosts, host)
		}
	}
	s.raft.Logger = hclog.NewNullLogger()
	if s.verbose {
		s.raft.Logger = hclog.New(&hclog.LoggerOptions{Name: s.config.ID, Level: hclog.Info, Output: s.errs})
	}
	s.config.Raft = s.raft
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// security reads certificates, if there are some.
func (s *serving) security() error {
	if s.cert == "" && s.key == "" && s.ca == "" {
		return nil
	}
	if s.cert == "" || s.key == "" || s.ca == "" {
		return errors.New("--tls-cert, --tls-key and --tls-ca go together")
	}
	pair, err := tls.LoadX509KeyPair(s.cert, s.key)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(s.ca)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", s.ca)
	}
	s.config.TLS = &tls.Config{
		Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
	}
	return nil
}

// run runs the node until ctx ends, or it fails.
func (s *serving) run(ctx context.Context) (err error) {
	listener, err := net.Listen("tcp", s.http)
	if err != nil {
		return err
	}
	defer listener.Close()
	node, err := replica.Start(ctx, s.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	web := &http.Server{
		Handler: server.New(node, s.hosts...), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		TLSConfig: s.httpSecurity, ErrorLog: log.New(io.Discard, "", 0),
	}
	served := make(chan error, 1)
	scheme := "http"
	if s.httpSecurity != nil {
		scheme = "https"
		go func() { served <- web.ServeTLS(listener, "", "") }()
	} else {
		go func() { served <- web.Serve(listener) }()
	}
	defer web.Close()
	fmt.Fprintf(s.out, "node %s: other nodes reach it at %s, programs at %s://%s\n", s.config.ID, node.Address(), scheme, listener.Addr())
	select {
	case <-ctx.Done():
		return nil
	case err := <-served:
		return err
	case <-node.Failed():
		return errors.New(node.Status().Failure)
	}
}
