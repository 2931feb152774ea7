// Package command is the program lsmdb-backup, but for the drivers of buckets. A program that
// imports some and calls Main knows these:
//
//	import _ "gocloud.dev/blob/gcsblob"
//
//	func main() { command.Main() }
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"

	"lsmdb/db"
	"lsmdb/ext/backup"
)

// Exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// Main is the program. It does not return.
func Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// program is one call of it.
type program struct {
	out, err io.Writer
	json     bool
	usage    bool // the caller's mistake
	options  backup.Options
	at       string
	keep     backup.Keep
}

func run(ctx context.Context, args []string, out, err io.Writer) int {
	p := &program{out: out, err: err}
	root := p.commands()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(err)
	failure := root.ExecuteContext(ctx)
	switch {
	case failure == nil:
		return 0
	case ctx.Err() != nil && errors.Is(failure, ctx.Err()):
		fmt.Fprintln(err, "lsmdb-backup: interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(err, "lsmdb-backup:", failure)
	if hint := hintFor(failure); hint != "" {
		fmt.Fprintln(err, hint)
	}
	if p.usage {
		fmt.Fprintln(err, "more: lsmdb-backup --help")
		return exitUsage
	}
	return exitFailed
}

// hintFor says what can be done about an error.
func hintFor(err error) string {
	switch {
	case errors.Is(err, backup.ErrForeign):
		return "Use a bucket, or a prefix in it, for each database: a restored copy is another one."
	case errors.Is(err, backup.ErrNotReached):
		return "lsmdb-backup list shows what can be restored."
	case errors.Is(err, fs.ErrExist):
		return "Name a directory that does not exist."
	case errors.Is(err, db.ErrLocked):
		return "The program that has it open can let others in: see db/attach."
	}
	return ""
}

const long = `Keeps an lsmdb database in a bucket, and makes a database of what lies there.

BUCKET is a directory, which is made where it is missing, or a URL such as
s3://backups?region=eu-central-1&prefix=orders/ (see gocloud.dev/blob). A bucket, or a prefix
in it, holds one database. DIR is a database; it may be open in another process
that serves it (db/attach).`

// commands makes the command and all below it.
func (p *program) commands() *cobra.Command {
	root := &cobra.Command{Use: "lsmdb-backup", Short: "Keep an lsmdb database in a bucket", Long: long, SilenceUsage: true, SilenceErrors: true,
		Example: `  lsmdb-backup run mydata /mnt/backup
  lsmdb-backup restore --at 2026-03-01T12:00:00Z /mnt/backup yesterday`,
		Args: func(_ *cobra.Command, args []string) error {
			p.usage = true
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q", args[0])
			}
			return errors.New("a command is missing: run, once, restore, list, verify or prune")
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, flaw error) error { p.usage = true; return flaw })
	root.PersistentFlags().BoolVar(&p.json, "json", false, "print the result, and what happens, as lines of JSON")
	run := p.command("run DIR BUCKET", "Back up until interrupted: the log every second, a point now and then", 2, p.run)
	run.Long = "Backs up the database that another process has open and serves (db/attach), until interrupted. While there is no such\nprocess, it waits for one."
	run.Flags().DurationVar(&p.options.LogInterval, "log-interval", time.Second, "time between two shipments of the log")
	run.Flags().DurationVar(&p.options.PointInterval, "point-interval", time.Hour, "time between two points")
	restore := p.command("restore BUCKET DIR", "Make a new database of what lies in the bucket", 2, p.restore)
	restore.Flags().StringVar(&p.at, "at", "latest", "latest, a sequence number, or a time such as 2006-01-02T15:04:05Z")
	prune := p.command("prune BUCKET", "Remove all but the newest points, and what only older ones need", 1, p.prune)
	prune.Flags().IntVar(&p.keep.Points, "keep", 0, "how many points stay (needed)")
	root.AddCommand(run, p.command("once DIR BUCKET", "Take one point", 2, p.once), restore,
		p.command("list BUCKET", "List what can be restored", 1, p.list),
		p.command("verify BUCKET", "Read all that lies in the bucket, and check it", 1, p.verify), prune)
	return root
}

// command makes one command with so many arguments.
func (p *program) command(use, short string, args int, do func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short,
		Args: func(_ *cobra.Command, given []string) error {
			if p.usage = len(given) != args; p.usage {
				_, names, _ := strings.Cut(use, " ")
				return fmt.Errorf("%s needed, and nothing else: there are %d arguments", strings.ReplaceAll(names, " ", " and "), len(given))
			}
			return nil
		},
		RunE: func(c *cobra.Command, given []string) error { return do(c.Context(), given) },
	}
}

// bucket opens a bucket. A directory is made if it may be.
func (p *program) bucket(ctx context.Context, name string, create bool) (*blob.Bucket, error) {
	if strings.Contains(name, "://") {
		b, err := blob.OpenBucket(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("open the bucket: %w", err)
		}
		return b, nil
	}
	dir, err := filepath.Abs(name)
	if err != nil {
		return nil, err
	}
	b, err := fileblob.OpenBucket(dir, &fileblob.Options{CreateDir: create, DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, fmt.Errorf("open the bucket %s: %w", dir, err)
	}
	return b, nil
}

// with does something with a bucket.
func (p *program) with(ctx context.Context, name string, create bool, do func(context.Context, *blob.Bucket) error) error {
	b, err := p.bucket(ctx, name, create)
	if err != nil {
		return err
	}
	ctx, end := p.show(ctx)
	err = do(ctx, b)
	end()
	return errors.Join(err, b.Close())
}

// run backs up until ctx ends.
func (p *program) run(ctx context.Context, args []string) error {
	p.options.Logger = p.logger()
	return p.with(ctx, args[1], true, func(ctx context.Context, b *blob.Bucket) error {
		if _, err := os.Stat(args[0]); err != nil {
			return err
		}
		for {
			err := backup.RunAttached(ctx, args[0], b, &p.options)
			switch {
			case ctx.Err() != nil:
				return nil // which is how it ends
			case !errors.Is(err, backup.ErrLost) && !errors.Is(err, fs.ErrNotExist):
				return err
			}
			p.options.Logger.Warn().Err(err).Msg("waiting for a process that serves the database")
			if err := p.await(ctx, args[0]); err != nil {
				return nil
			}
		}
	})
}

// await waits until a process serves the database, or ctx ends.
func (p *program) await(ctx context.Context, dir string) error {
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-tick.C:
			if backup.Served(ctx, dir) {
				tick.Stop()
				return nil
			}
		case <-ctx.Done():
			tick.Stop()
			return ctx.Err()
		}
	}
}

func (p *program) once(ctx context.Context, args []string) error {
	return p.with(ctx, args[1], true, func(ctx context.Context, b *blob.Bucket) error {
		r, err := backup.OnceAttached(ctx, args[0], b, nil)
		if errors.Is(err, fs.ErrNotExist) {
			var d *db.DB
			if d, err = db.Open(args[0], &db.Options{MustExist: true}); err != nil {
				return err
			}
			r, err = backup.Once(ctx, d, b, nil)
			err = errors.Join(err, d.Close())
		}
		if err != nil {
			return err
		}
		return p.tell(r, "%s: sequence number %d, %d tables of %s, of which %d of %s were uploaded\n",
			r.Point, r.Seq, r.Tables, bytes(r.TableBytes), r.Uploaded, bytes(r.UploadedBytes))
	})
}

func (p *program) restore(ctx context.Context, args []string) error {
	at, err := backup.ParsePoint(p.at)
	if err != nil {
		p.usage = true
		return err
	}
	return p.with(ctx, args[0], false, func(ctx context.Context, b *blob.Bucket) error {
		r, err := backup.Restore(ctx, b, args[1], at)
		if err != nil {
			return err
		}
		return p.tell(r, "%s is a database as of sequence number %d, %s: %d tables of %s, %d operations of the log, verified\n",
			args[1], r.Seq, when(r.Time), r.Tables, bytes(r.TableBytes), r.Operations)
	})
}

func (p *program) list(ctx context.Context, args []string) error {
	return p.with(ctx, args[0], false, func(ctx context.Context, b *blob.Bucket) error {
		list, err := backup.List(ctx, b)
		if err != nil {
			return err
		}
		if !p.json && len(list) > 0 {
			fmt.Fprintf(p.out, "%-20s  %20s  %7s  %10s  %s\n", "time of the point", "sequence number", "tables", "size", "with the log up to")
		}
		for _, l := range list {
			if err := p.tell(l, "%-20s  %20d  %7d  %10s  %d, %s\n", when(l.Time), l.Seq, l.Tables, bytes(l.Bytes), l.LogSeq, when(l.LogTime)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *program) verify(ctx context.Context, args []string) error {
	return p.with(ctx, args[0], false, func(ctx context.Context, b *blob.Bucket) error {
		r, err := backup.Verify(ctx, b)
		if err != nil {
			return err
		}
		return p.tell(r, "all is well: %d points with %d tables of %s, %d pieces of the log with %d operations, up to sequence number %d\n",
			r.Points, r.Tables, bytes(r.TableBytes), r.Objects, r.Operations, r.Seq)
	})
}

func (p *program) prune(ctx context.Context, args []string) error {
	if p.keep.Points < 1 {
		p.usage = true
		return errors.New("--keep says how many points stay, at least 1")
	}
	return p.with(ctx, args[0], false, func(ctx context.Context, b *blob.Bucket) error {
		r, err := backup.Prune(ctx, b, p.keep)
		if err != nil {
			return err
		}
		return p.tell(r, "%d points are left; %d objects of %s were removed\n", r.Points, r.Removed, bytes(r.RemovedBytes))
	})
}

// tell prints a result.
func (p *program) tell(result any, format string, args ...any) error {
	if p.json {
		return json.NewEncoder(p.out).Encode(result)
	}
	_, err := fmt.Fprintf(p.out, format, args...)
	return err
}

// when prints a time.
func when(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// bytes prints a size.
func bytes(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	size, i := float64(n), 0
	for ; size >= 1024 && i < len(units)-1; i++ {
		size /= 1024
	}
	if i == 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", size, units[i])
}

// logger says on the standard error what happens.
func (p *program) logger() zerolog.Logger {
	if p.json {
		return zerolog.New(p.err).With().Timestamp().Logger()
	}
	return zerolog.New(zerolog.ConsoleWriter{Out: p.err, NoColor: true, TimeFormat: time.RFC3339}).Level(zerolog.InfoLevel).With().Timestamp().Logger()
}
