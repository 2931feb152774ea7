package tour

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
)

// The first half of the tour's load runs in a child process, which is this
// program again under a hidden command. The parent sends the list of files on its
// standard input, NUL after each, and reads childMessages, one JSON object per
// line, from its standard output, until it kills the child.

// childMessage is one line from child to parent.
type childMessage struct {
	Acknowledged *int        `json:"acknowledged,omitempty"` // index of a file whose commit is durable
	Metrics      *db.Metrics `json:"metrics,omitempty"`
	Waiting      bool        `json:"waiting,omitempty"` // everything is loaded; the kill is due
}

const childCommand = "tour-child"

// tourOptions are the database's options in both processes: a memtable so small
// that the whole pipeline has work.
func tourOptions(c *console.Console) *db.Options {
	return &db.Options{MemtableBytes: 4 << 20, Merger: db.SumInt64, Logger: c.Logger()}
}

// NewChild makes the hidden subcommand of the loading process.
func NewChild(c *console.Console) *cobra.Command {
	return &cobra.Command{
		Use:    childCommand + " DIR SOURCE",
		Short:  "The loading process of the tour",
		Long:   "The loading process of the tour; not for direct use. It loads files into DIR until\nit is killed.\n\n" + exit.Help(exit.OK, exit.Failed, exit.Usage),
		Hidden: true,
		Args:   console.Arguments(2, 2),
		RunE: c.Interruptible(func(ctx context.Context, args []string) error {
			return runTourChild(ctx, c, args[0], args[1])
		}),
	}
}

// runTourChild loads the first three quarters of the files, each as a commit of
// its own, and never closes the database: it waits to be killed.
func runTourChild(ctx context.Context, c *console.Console, dir, source string) error {
	list, err := io.ReadAll(c.In)
	if err != nil {
		return err
	}
	tree := &sourceTree{root: source}
	for path := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		tree.files = append(tree.files, sourceFile{path: path})
	}
	database, err := db.Open(dir, tourOptions(c))
	if err != nil {
		return err
	}
	say := json.NewEncoder(c.Out)
	var lastMetrics time.Time
	loader := newFileLoader(database, tree, func(index, _ int) error {
		if time.Since(lastMetrics) >= display.RedrawEvery {
			lastMetrics = time.Now()
			m := database.Metrics()
			if err := say.Encode(childMessage{Metrics: &m}); err != nil {
				return err
			}
		}
		return say.Encode(childMessage{Acknowledged: &index})
	})
	for index := range len(tree.files) * 3 / 4 {
		if err := loader.add(ctx, index); err != nil {
			return err
		}
	}
	if err := loader.drain(ctx); err != nil {
		return err
	}
	if err := say.Encode(childMessage{Waiting: true}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// loadAndKill runs the child, collects what it acknowledges, and kills it once
// that is half of all bytes. Acknowledgements that were under way count too.
func (t *tour) loadAndKill(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	var list bytes.Buffer
	for _, f := range t.tree.files {
		list.WriteString(f.path + "\x00")
	}
	var complaint bytes.Buffer
	child := exec.CommandContext(ctx, program, childCommand, t.dir, t.tree.root)
	child.Stdin, child.Stderr = &list, &complaint
	messages, err := child.StdoutPipe()
	if err != nil {
		return err
	}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start the loading process: %w", err)
	}
	killed, err := t.listen(messages, child.Process)
	if err != nil {
		child.Process.Kill()
	}
	ended := child.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case !killed:
		return exit.Failf(exit.Failed, "the loading process ended by itself (%v): %s", ended, exit.Plain(errors.New(strings.TrimSpace(complaint.String()))))
	}
	return nil
}

// listen reads the child's messages to their end and kills it in between.
func (t *tour) listen(messages io.Reader, child *os.Process) (killed bool, err error) {
	lines := bufio.NewReader(messages)
	start := time.Now()
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return killed, nil // a line without end was cut by the kill: it says nothing
		}
		if err != nil {
			return killed, err
		}
		var message childMessage
		if err := json.Unmarshal(line, &message); err != nil {
			return killed, fmt.Errorf("message %q of the loading process: %w", line, err)
		}
		if message.Metrics != nil {
			t.childMetrics = *message.Metrics
		}
		if message.Acknowledged != nil {
			if err := t.acknowledge(*message.Acknowledged); err != nil {
				return killed, err
			}
		}
		t.display.Update(func() []string {
			return t.frame(display.Progress{Verb: "loading", Done: t.ackedBytes, Total: t.tree.totalBytes,
				Detail: units.Plural(t.ackedFiles, "file", "files") + " acknowledged", Since: start}, &t.childMetrics)
		})
		if !killed && (message.Waiting || t.ackedBytes >= t.tree.totalBytes/2) {
			if err := child.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return false, fmt.Errorf("kill the loading process: %w", err)
			}
			killed = true
		}
	}
}

func (t *tour) acknowledge(index int) error {
	if index < 0 || index >= len(t.acked) {
		return fmt.Errorf("the loading process acknowledged file %d of %d", index, len(t.acked))
	}
	t.acked[index] = true
	t.ackedFiles++
	t.ackedBytes += t.tree.files[index].sizeBytes
	return nil
}

// fileLoader stores files, each as one commit, and keeps many commits in flight
// from one goroutine.
type fileLoader struct {
	database     *db.DB
	tree         *sourceTree
	acknowledged func(index, valueBytes int) error
	queue        []fileCommit // oldest first
	queueBytes   int
	free         []*db.Batch
}

type fileCommit struct {
	index      int
	valueBytes int
	batch      *db.Batch
	pending    *db.Pending
}

// What may be in flight at most.
const (
	inFlightFiles = 128
	inFlightBytes = 4 << 20
)

func newFileLoader(database *db.DB, tree *sourceTree, acknowledged func(index, valueBytes int) error) *fileLoader {
	return &fileLoader{database: database, tree: tree, acknowledged: acknowledged}
}

// add submits a file and waits for the oldest ones while too much is in flight.
func (l *fileLoader) add(ctx context.Context, index int) error {
	content, err := l.tree.content(index)
	if err != nil {
		return err
	}
	var batch *db.Batch
	if n := len(l.free); n > 0 {
		batch, l.free = l.free[n-1], l.free[:n-1]
	} else {
		batch = l.database.NewBatch()
	}
	if err := batch.Put(l.tree.key(index), content); err != nil {
		return fmt.Errorf("file %s: %w", l.tree.files[index].path, err)
	}
	pending, err := l.database.Submit(ctx, batch, db.Sync)
	if err != nil {
		return err
	}
	l.queue = append(l.queue, fileCommit{index, len(content), batch, pending})
	l.queueBytes += len(content)
	for len(l.queue) > inFlightFiles || l.queueBytes > inFlightBytes {
		if err := l.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// settle waits for the oldest commit.
func (l *fileLoader) settle(ctx context.Context) error {
	oldest := l.queue[0]
	if err := oldest.pending.Wait(ctx); err != nil {
		return fmt.Errorf("file %s: %w", l.tree.files[oldest.index].path, err)
	}
	l.queue = l.queue[1:]
	l.queueBytes -= oldest.valueBytes
	oldest.batch.Reset()
	l.free = append(l.free, oldest.batch)
	return l.acknowledged(oldest.index, oldest.valueBytes)
}

// drain waits for everything in flight.
func (l *fileLoader) drain(ctx context.Context) error {
	for len(l.queue) > 0 {
		if err := l.settle(ctx); err != nil {
			return err
		}
	}
	return nil
}
