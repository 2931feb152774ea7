package shell

import (
	"context"
	"time"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
)

// reader is what reading commands read: the open transaction, or else the database.
func (s *shell) reader() access.Reader {
	if s.tx != nil {
		return s.tx
	}
	return s.database
}

// write does something as part of the open transaction, or else as a commit of its own.
func (s *shell) write(ctx context.Context, done string, object map[string]any, do func(w access.Writer) error) (answer, error) {
	a := answer{text: done, object: object}
	start := time.Now()
	if s.tx != nil {
		err := do(s.tx)
		a.elapsed = time.Since(start)
		return a, err
	}
	batch := s.database.NewBatch()
	if err := do(batch); err != nil {
		return a, err
	}
	start = time.Now()
	err := s.database.Apply(ctx, batch)
	a.elapsed = time.Since(start)
	return a, err
}

func (s *shell) begin(_ context.Context, _ string, words []text.Word) (a answer, err error) {
	switch {
	case len(words) > 0:
		return a, exit.Usagef("begin wants nothing behind it")
	case s.tx != nil:
		return a, exit.Usagef("a transaction is open already; commit or rollback ends it")
	}
	start := time.Now()
	s.tx, err = s.database.Begin()
	return answer{text: "a transaction has begun; commit or rollback ends it", object: map[string]any{"begun": true}, elapsed: time.Since(start)}, err
}

// commit ends the transaction, whatever comes of it.
func (s *shell) commit(ctx context.Context, _ string, words []text.Word) (a answer, err error) {
	switch {
	case len(words) > 0:
		return a, exit.Usagef("commit wants nothing behind it")
	case s.tx == nil:
		return a, errNoTransaction
	}
	start := time.Now()
	err = s.tx.Commit(ctx)
	s.tx = nil
	a = answer{text: "committed", object: map[string]any{"committed": true}, elapsed: time.Since(start)}
	return a, err
}

func (s *shell) rollback(_ context.Context, _ string, words []text.Word) (answer, error) {
	switch {
	case len(words) > 0:
		return answer{}, exit.Usagef("rollback wants nothing behind it")
	case s.tx == nil:
		return answer{}, errNoTransaction
	}
	s.discard()
	return answer{text: "rolled back; nothing of it was stored", object: map[string]any{"committed": false}, untimed: true}, nil
}

var errNoTransaction = exit.Usagef("no transaction is open; begin begins one")

// discard ends the open transaction without a trace.
func (s *shell) discard() {
	s.tx.Discard()
	s.tx = nil
}

// outside runs a command as somebody else would, who is not in the transaction.
func (s *shell) outside(ctx context.Context, line string, words []text.Word) (answer, error) {
	switch {
	case s.tx == nil:
		return answer{}, errNoTransaction
	case len(words) == 0:
		return answer{}, exit.Usagef("outside wants a command behind it, like: outside put KEY VALUE")
	}
	command := findShellCommand(string(words[0].Text))
	switch {
	case command == nil:
		return answer{}, errNoCommand(words[0])
	case !command.actsOnData:
		return answer{}, exit.Usagef("%s does not go outside; get, scan, size, put, delete, delete-range and merge do", words[0].Text)
	}
	tx := s.tx
	s.tx = nil
	defer func() { s.tx = tx }()
	return command.run(s, ctx, line, words[1:])
}

// abandon ends a transaction that is still open at the end of the shell.
func (s *shell) abandon() {
	if s.tx == nil {
		return
	}
	s.discard()
	s.fail(&exit.Error{Code: exit.Failed,
		Sentence: "the shell ends, and the open transaction with it: it was rolled back, nothing of it was stored"})
}

// untilText tells when a value ends.
func (s *shell) untilText(until time.Time) string {
	if until.IsZero() {
		return ""
	}
	left := "is over"
	if d := time.Until(until); d > 0 {
		left = "in " + units.Span(d)
	}
	return s.console.OutInk().Faint("  until " + text.FormatUntil(until) + ", " + left)
}
