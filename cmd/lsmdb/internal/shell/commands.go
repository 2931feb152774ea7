package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"lsmdb/cmd/lsmdb/internal/access"
	"lsmdb/cmd/lsmdb/internal/display"
	"lsmdb/cmd/lsmdb/internal/exit"
	"lsmdb/cmd/lsmdb/internal/text"
	"lsmdb/cmd/lsmdb/internal/units"
	"lsmdb/db"
	"lsmdb/internal/beside"
)

// shellCommand is a command of the shell under all its names.
type shellCommand struct {
	names      []string
	usage      string
	help       string
	actsOnData bool // on what the words behind it name, in the open transaction or outside
	run        func(s *shell, ctx context.Context, line string, words []text.Word) (answer, error)
}

// shellCommands returns the commands in the order of the help. It is a function
// because help itself is one of them.
func shellCommands() []shellCommand {
	return []shellCommand{
		{[]string{"put", "set", "update"}, "put KEY VALUE [--until TIME]", "store a value, the rest of the line; it ends after a time (10m, 7d) or at one (2030-12-31)", true, (*shell).put},
		{[]string{"get"}, "get KEY", "print a value, and when it ends", true, (*shell).get},
		{[]string{"size"}, "size KEY", "print how long a value is", true, (*shell).size},
		{[]string{"delete", "remove", "rm", "del"}, "delete KEY", "delete a key", true, (*shell).delete},
		{[]string{"delete-range"}, "delete-range START [END]", "delete all keys from START to before END, at once, however many; without END to the last", true, (*shell).deleteRange},
		{[]string{"merge"}, "merge KEY OPERAND", "merge onto the value, as --merger says (sum: a number); the operand is the rest of the line", true, (*shell).merge},
		{[]string{"scan"}, "scan [PREFIX] [from KEY] [to KEY] [limit N] [reverse] [--keys]", "print entries in the order of their keys, 20 unless limit says otherwise; --keys: no values", true, (*shell).scan},
		{[]string{"begin"}, "begin", "begin a transaction: what follows sees it, and commit stores all of it or nothing", false, (*shell).begin},
		{[]string{"commit"}, "commit", "end it and store it, if nobody has changed what it read", false, (*shell).commit},
		{[]string{"rollback", "discard"}, "rollback", "end it and store nothing", false, (*shell).rollback},
		{[]string{"outside"}, "outside COMMAND ...", "run one command outside of the transaction, as another client would", false, (*shell).outside},
		{[]string{"stats"}, "stats", "show the tree, the stages and their traffic", false, (*shell).stats},
		{[]string{"clear"}, "clear", "delete everything, after asking", false, (*shell).clear},
		{[]string{"help"}, "help", "print this", false, (*shell).help},
		{[]string{"exit", "quit"}, "exit", "end the shell", false, nil},
	}
}

func findShellCommand(name string) *shellCommand {
	for _, c := range shellCommands() {
		if slices.Contains(c.names, name) {
			return &c
		}
	}
	return nil
}

func shellCommandNames() []string {
	var names []string
	for _, c := range shellCommands() {
		names = append(names, c.names...)
	}
	return names
}

func (s *shell) put(ctx context.Context, line string, words []text.Word) (answer, error) {
	line, words, argument, err := text.CutFlag(line, words, "--until", 1)
	if err != nil {
		return answer{}, err
	}
	if len(words) < 2 {
		return answer{}, exit.Usagef("put wants a key and a value")
	}
	var until time.Time
	if argument != nil {
		if until, err = text.ParseUntil(string(argument), time.Now()); err != nil {
			return answer{}, exit.Usagef("--until: %v", err)
		}
	}
	key := words[0].Text
	value, err := text.ValueFrom(line, words[1:])
	if err != nil {
		return answer{}, err
	}
	if err := access.CheckEntry(key, value); err != nil {
		return answer{}, err
	}
	object := map[string]any{"stored": 1}
	addUntil(object, until)
	return s.write(ctx, "stored"+s.untilText(until), object, func(w access.Writer) error { return access.Put(w, key, value, until) })
}

func addUntil(object map[string]any, until time.Time) {
	if !until.IsZero() {
		object["until"] = text.FormatUntil(until)
	}
}

func (s *shell) get(_ context.Context, _ string, words []text.Word) (answer, error) {
	if len(words) != 1 {
		return answer{}, exit.Usagef("get wants one key")
	}
	key := words[0].Text
	start := time.Now()
	value, err := s.reader().Get(key)
	a := answer{elapsed: time.Since(start)}
	if errors.Is(err, db.ErrNotFound) {
		return s.notFound(a), nil
	}
	if err != nil {
		return a, err
	}
	until, err := beside.Until(s.reader(), key)
	if err != nil {
		return a, err
	}
	a.text, a.object = s.shown(value)+s.untilText(until), map[string]any{"found": true}
	text.JSONFields(a.object, "value", value)
	addUntil(a.object, until)
	return a, nil
}

func (s *shell) notFound(a answer) answer {
	a.text, a.object = s.console.OutInk().Warm("not found"), map[string]any{"found": false}
	return a
}

func (s *shell) size(_ context.Context, _ string, words []text.Word) (answer, error) {
	if len(words) != 1 {
		return answer{}, exit.Usagef("size wants one key")
	}
	start := time.Now()
	n, err := s.reader().GetSize(words[0].Text)
	a := answer{elapsed: time.Since(start)}
	if errors.Is(err, db.ErrNotFound) {
		return s.notFound(a), nil
	}
	a.text, a.object = units.Plural(n, "byte", "bytes"), map[string]any{"found": true, "value_bytes": n}
	return a, err
}

// shown is a value for people: on a terminal, the start of a long one.
func (s *shell) shown(value []byte) string {
	const most = 2000
	if n, ok := access.Number(value); ok && s.merger == db.SumInt64 {
		return string(text.AppendEscaped(nil, value)) + s.console.OutInk().Faint(fmt.Sprintf("  = %d", n))
	}
	if len(value) <= most || !s.console.OutTerminal {
		return string(text.AppendEscaped(nil, value))
	}
	return string(text.AppendEscaped(nil, value[:most])) + s.console.OutInk().Faint(" ... "+units.Count(len(value))+" bytes in all")
}

func (s *shell) delete(ctx context.Context, _ string, words []text.Word) (answer, error) {
	if len(words) != 1 {
		return answer{}, exit.Usagef("delete wants one key")
	}
	return s.write(ctx, "deleted", map[string]any{"deleted": 1}, func(w access.Writer) error { return w.Delete(words[0].Text) })
}

func (s *shell) deleteRange(ctx context.Context, _ string, words []text.Word) (answer, error) {
	if len(words) == 0 || len(words) > 2 {
		return answer{}, exit.Usagef("delete-range wants the first key, and the one before which it ends, or no end")
	}
	start, end := words[0].Text, []byte(nil)
	if len(words) == 2 {
		end = words[1].Text
	}
	if err := access.CheckRange(start, end); err != nil {
		return answer{}, err
	}
	return s.write(ctx, "deleted", map[string]any{"deleted_range": true}, func(w access.Writer) error { return w.DeleteRange(start, end) })
}

func (s *shell) merge(ctx context.Context, line string, words []text.Word) (answer, error) {
	if len(words) < 2 {
		return answer{}, exit.Usagef("merge wants a key and an operand")
	}
	operand, err := text.ValueFrom(line, words[1:])
	if err == nil {
		operand, err = access.ParseOperand(s.recorded, s.merger, operand)
	}
	if err == nil {
		err = access.CheckEntry(words[0].Text, operand)
	}
	if err != nil {
		return answer{}, err
	}
	return s.write(ctx, "merged", map[string]any{"merged": 1}, func(w access.Writer) error { return w.Merge(words[0].Text, operand) })
}

// scanRequest is a parsed scan command.
type scanRequest struct {
	bounds  db.IterOptions
	limit   int
	reverse bool
}

const shellScanLimit = 20

func parseScan(words []text.Word) (r scanRequest, err error) {
	r.limit = shellScanLimit
	for len(words) > 0 {
		w := words[0]
		words = words[1:]
		switch {
		case w.Is("reverse"):
			r.reverse = true
			continue
		case w.Is("--keys"):
			r.bounds.KeysOnly = true
			continue
		case !w.Is("from") && !w.Is("to") && !w.Is("limit"):
			if r.bounds.Prefix != nil {
				return r, exit.Usagef("scan wants one prefix; %s is a second one", text.Quote(w.Text))
			}
			r.bounds.Prefix = w.Text
			continue
		case len(words) == 0:
			return r, exit.Usagef("%s wants a word behind it", w.Text)
		}
		argument := words[0].Text
		words = words[1:]
		switch string(w.Text) {
		case "from":
			r.bounds.Lower = argument
		case "to":
			r.bounds.Upper = argument
		default:
			if r.limit, err = strconv.Atoi(string(argument)); err != nil || r.limit < 1 {
				return r, exit.Usagef("limit wants a number from 1 up, not %s", text.Quote(argument))
			}
		}
	}
	return r, nil
}

func (s *shell) scan(ctx context.Context, _ string, words []text.Word) (answer, error) {
	request, err := parseScan(words)
	if err != nil {
		return answer{}, err
	}
	start := time.Now()
	it, err := s.reader().NewIterator(&request.bounds)
	if err != nil {
		return answer{}, err
	}
	defer it.Close()
	var b strings.Builder
	entries := []map[string]any{}
	i := s.console.OutInk()
	n, more := 0, false
	err = beside.Walk(ctx, it, request.reverse, func(key, value []byte) (bool, error) {
		if n == request.limit {
			more = true
			return false, nil
		}
		n++
		if s.console.JSON {
			entry := map[string]any{}
			text.JSONFields(entry, "key", key)
			if !request.bounds.KeysOnly {
				text.JSONFields(entry, "value", value)
			}
			addUntil(entry, it.Until())
			entries = append(entries, entry)
			return true, nil
		}
		b.WriteString(i.Accent(text.Quote(key)))
		if !request.bounds.KeysOnly {
			b.WriteString("  " + s.shown(value))
		}
		b.WriteString(s.untilText(it.Until()) + "\n")
		return true, nil
	})
	a := answer{elapsed: time.Since(start), object: map[string]any{"entries": entries, "more": more}}
	b.WriteString(units.Plural(n, "entry", "entries"))
	if more {
		fmt.Fprintf(&b, ", and there are more (limit N)")
	}
	a.text = b.String()
	return a, err
}

func (s *shell) stats(_ context.Context, _ string, words []text.Word) (answer, error) {
	if len(words) > 0 {
		return answer{}, exit.Usagef("stats wants nothing behind it")
	}
	start := time.Now()
	m := s.database.Metrics()
	elapsed := time.Since(start)
	i := s.console.OutInk()
	text := strings.Join([]string{display.TreeTable(i, &m), display.StageTable(i, &m), display.TrafficTable(i, &m), display.FactTable(i, &m)}, "\n\n")
	return answer{text: text + "\n\nas of this moment", object: map[string]any{"metrics": m}, elapsed: elapsed}, nil
}

// clear deletes everything that is there now, and gives the space back.
func (s *shell) clear(ctx context.Context, _ string, words []text.Word) (answer, error) {
	if len(words) > 0 {
		return answer{}, exit.Usagef("clear wants nothing behind it; it deletes everything")
	}
	if !s.confirm("delete every entry of this database? yes or no: ") {
		return answer{text: "nothing was deleted", object: map[string]any{"deleted": 0}, untimed: true}, nil
	}
	n, err := countKeys(ctx, s.reader())
	if err != nil {
		return answer{}, err
	}
	a, err := s.write(ctx, units.Plural(n, "entry", "entries")+" deleted", map[string]any{"deleted": n},
		func(w access.Writer) error { return w.DeleteRange(nil, nil) })
	if err == nil && s.tx == nil {
		start := time.Now()
		err = s.database.Compact(ctx, nil, nil)
		a.elapsed += time.Since(start)
	}
	return a, err
}

func countKeys(ctx context.Context, r access.Reader) (n int64, err error) {
	it, err := r.NewIterator(&db.IterOptions{KeysOnly: true, NoCacheFill: true})
	if err != nil {
		return 0, err
	}
	defer it.Close()
	err = beside.Walk(ctx, it, false, func([]byte, []byte) (bool, error) { n++; return true, nil })
	return n, err
}

// confirm asks a question; only yes is yes.
func (s *shell) confirm(question string) bool {
	if !s.console.Interactive() && !s.console.JSON {
		s.console.Printf("%s\n", strings.TrimSpace(question))
	}
	reply, err := s.input.read(question)
	return err == nil && (strings.EqualFold(strings.TrimSpace(reply), "yes") || strings.EqualFold(strings.TrimSpace(reply), "y"))
}

func (s *shell) help(context.Context, string, []text.Word) (answer, error) {
	i := s.console.OutInk()
	var b strings.Builder
	var commands []map[string]any
	for _, c := range shellCommands() {
		fmt.Fprintf(&b, "  %s\n      %s\n", i.Bold(c.usage), c.help)
		if len(c.names) > 1 {
			fmt.Fprintf(&b, "      %s\n", i.Faint("also: "+strings.Join(c.names[1:], ", ")))
		}
		commands = append(commands, map[string]any{"names": c.names, "usage": c.usage, "help": c.help})
	}
	b.WriteString(i.Faint(`words with spaces stand in "quotes"; \\ \t \n \r \xHH \" stand for what cannot be typed`))
	return answer{text: b.String(), object: map[string]any{"commands": commands}, untimed: true}, nil
}
