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
)

// shellCommand is a command of the shell under all its names.
type shellCommand struct {
	names    []string
	usage    string
	help     string
	takesKey bool
	run      func(s *shell, ctx context.Context, line string, words []text.Word) (answer, error)
}

// shellCommands returns the commands in the order of the help. It is a function
// because help itself is one of them.
func shellCommands() []shellCommand {
	return []shellCommand{
		{[]string{"put", "set", "update"}, "put KEY VALUE", "store a value; the value is the rest of the line", true, (*shell).put},
		{[]string{"get"}, "get KEY", "print a value", true, (*shell).get},
		{[]string{"delete", "remove", "rm", "del"}, "delete KEY", "delete a key", true, (*shell).delete},
		{[]string{"scan"}, "scan [PREFIX] [from KEY] [to KEY] [limit N] [reverse]", "print entries in the order of their keys, 20 unless limit says otherwise", true, (*shell).scan},
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
	if len(words) < 2 {
		return answer{}, exit.Usagef("put wants a key and a value")
	}
	value, err := text.ValueFrom(line, words[1:])
	if err != nil {
		return answer{}, err
	}
	if err := access.CheckEntry(words[0].Text, value); err != nil {
		return answer{}, err
	}
	batch := s.database.NewBatch()
	if err := batch.Put(words[0].Text, value); err != nil {
		return answer{}, err
	}
	start := time.Now()
	err = s.database.Apply(ctx, batch)
	return answer{text: "stored", object: map[string]any{"stored": 1}, elapsed: time.Since(start)}, err
}

func (s *shell) get(_ context.Context, _ string, words []text.Word) (answer, error) {
	if len(words) != 1 {
		return answer{}, exit.Usagef("get wants one key")
	}
	start := time.Now()
	value, err := s.database.Get(words[0].Text)
	a := answer{elapsed: time.Since(start)}
	if errors.Is(err, db.ErrNotFound) {
		a.text, a.object = s.console.OutInk().Warm("not found"), map[string]any{"found": false}
		return a, nil
	}
	if err != nil {
		return a, err
	}
	a.text, a.object = s.shown(value), map[string]any{"found": true}
	text.JSONFields(a.object, "value", value)
	return a, nil
}

// shown is a value for people: on a terminal, the start of a long one.
func (s *shell) shown(value []byte) string {
	const most = 2000
	if len(value) <= most || !s.console.OutTerminal {
		return string(text.AppendEscaped(nil, value))
	}
	return string(text.AppendEscaped(nil, value[:most])) + s.console.OutInk().Faint(" ... "+units.Count(len(value))+" bytes in all")
}

func (s *shell) delete(ctx context.Context, _ string, words []text.Word) (answer, error) {
	if len(words) != 1 {
		return answer{}, exit.Usagef("delete wants one key")
	}
	batch := s.database.NewBatch()
	if err := batch.Delete(words[0].Text); err != nil {
		return answer{}, err
	}
	start := time.Now()
	err := s.database.Apply(ctx, batch)
	return answer{text: "deleted", object: map[string]any{"deleted": 1}, elapsed: time.Since(start)}, err
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
	it, err := s.database.NewIterator(&request.bounds)
	if err != nil {
		return answer{}, err
	}
	defer it.Close()
	var b strings.Builder
	entries := []map[string]any{}
	i := s.console.OutInk()
	n, more := 0, false
	err = access.Walk(ctx, it, request.reverse, func(key, value []byte) (bool, error) {
		if n == request.limit {
			more = true
			return false, nil
		}
		n++
		if s.console.JSON {
			entry := map[string]any{}
			text.JSONFields(entry, "key", key)
			text.JSONFields(entry, "value", value)
			entries = append(entries, entry)
		} else {
			fmt.Fprintf(&b, "%s  %s\n", i.Accent(text.Quote(key)), s.shown(value))
		}
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
	start := time.Now()
	n, err := deleteAll(ctx, s.database)
	if err == nil {
		err = s.database.Compact(ctx, nil, nil)
	}
	return answer{text: units.Plural(n, "entry", "entries") + " deleted", object: map[string]any{"deleted": n}, elapsed: time.Since(start)}, err
}

// confirm asks a question; only yes is yes.
func (s *shell) confirm(question string) bool {
	if !s.console.Interactive() && !s.console.JSON {
		s.console.Printf("%s\n", strings.TrimSpace(question))
	}
	reply, err := s.input.read(question)
	return err == nil && (strings.EqualFold(strings.TrimSpace(reply), "yes") || strings.EqualFold(strings.TrimSpace(reply), "y"))
}

// clearBatchEntries bounds the memory that clear needs.
const clearBatchEntries = 2000

// deleteAll deletes the entries of one instant, in batches of a bounded size.
func deleteAll(ctx context.Context, database *db.DB) (n int64, err error) {
	it, err := database.NewIterator(nil)
	if err != nil {
		return 0, err
	}
	defer it.Close()
	batch := database.NewBatch()
	err = access.Walk(ctx, it, false, func(key, _ []byte) (bool, error) {
		if err := batch.Delete(key); err != nil {
			return false, err
		}
		if batch.Len() < clearBatchEntries {
			return true, nil
		}
		n += int64(batch.Len())
		err := database.Apply(ctx, batch, db.NoSync)
		batch.Reset()
		return true, err
	})
	if err != nil {
		return n, err
	}
	n += int64(batch.Len())
	return n, database.Apply(ctx, batch, db.Sync)
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
