package metamorphic

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// String returns the history as a script, one operation in each line. Keys are quoted
// as in Go, "x"*100 is a repetition, - stands for a bound that is not there. A value is
// its number, x or r (regular or random) and the size of its filling. A write may begin with
// the transaction that it belongs to and the prefix of its keyspace: put on t1 in "p" "k" 7x60.
func (h History) String() string {
	var b strings.Builder
	for _, o := range h {
		b.WriteString(o.String())
		b.WriteByte('\n')
	}
	return b.String()
}

func (o Operation) String() string {
	words := []string{string(o.Kind)}
	add := func(more ...string) { words = append(words, more...) }
	switch o.Kind {
	case Put, Delete, DeleteRange, Merge, PutUntil:
		if o.On != "" {
			add("on", string(o.On))
		}
		if add(o.Writes[0].words()...); o.On == "" {
			add(string(o.Durability))
		}
	case Batch, Submit, Load:
		if o.Kind != Load {
			add(string(o.Durability))
		}
		for _, w := range o.Writes {
			add(string(w.kind()))
			add(w.words()...)
		}
	case Get, Has, Size:
		add(string(o.From))
		add(inSpace(o.Space)...)
		add(quote(o.Key))
	case Scan:
		add(string(o.From))
		add(inSpace(o.Space)...)
		add(o.flags()...)
	case SetClock:
		add(strconv.Itoa(o.Seconds))
	case Commit:
		add(string(o.On), string(o.Durability))
	case Compact:
		add(quote(o.Lower), quote(o.Upper))
	case NewIterator:
		add(string(o.On), string(o.From))
		add(inSpace(o.Space)...)
		add(quote(o.Lower), quote(o.Upper), quote(o.Prefix))
		add(o.flags()...)
	case SeekGE, SeekLT:
		add(string(o.On), quote(o.Key))
	case NewSnapshot, First, Last, Next, Prev, Close, Begin:
		add(string(o.On))
	case Restart:
		add(string(o.End))
		if o.Verify {
			add("verify")
		}
		if o.ReadOnly {
			add("readonly")
		}
	}
	return strings.Join(words, " ")
}

// words are what follows the kind of a write.
func (w Write) words() []string {
	list := append(inSpace(w.Space), quote(w.Key))
	switch w.kind() {
	case DeleteRange:
		return append(list, quote(w.End))
	case Delete:
		return list
	case PutUntil:
		return append(list, w.Value.String(), strconv.Itoa(w.Until))
	}
	return append(list, w.Value.String())
}

func inSpace(space []byte) []string {
	if space == nil {
		return nil
	}
	return []string{"in", quote(space)}
}

func (o Operation) flags() []string {
	if o.KeysOnly {
		return []string{"keysonly"}
	}
	return nil
}

func (v Value) String() string {
	return fmt.Sprintf("%d%c%d", v.Number, "rx"[index(v.Regular)], v.Size)
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

func quote(key []byte) string {
	switch {
	case key == nil:
		return "-"
	case len(key) > 16 && len(bytes.Trim(key, string(key[:1]))) == 0 && key[0] < 0x80:
		return fmt.Sprintf("%s*%d", strconv.Quote(string(key[:1])), len(key))
	}
	return strconv.Quote(string(key))
}

// Parse reads a script. Empty lines, and lines that begin with #, say nothing.
func Parse(script string) (History, error) {
	var h History
	for i, line := range strings.Split(script, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		p := &parser{words: words(line)}
		o := p.operation()
		if p.err == nil && len(p.words) > 0 {
			p.err = fmt.Errorf("%q is too much", p.words)
		}
		if p.err != nil {
			return nil, fmt.Errorf("line %d: %q: %w", i+1, line, p.err)
		}
		h = append(h, o)
	}
	return h, nil
}

// words splits at spaces that are not quoted.
func words(line string) []string {
	var list []string
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		quoted, _ := strconv.QuotedPrefix(line)
		n := strings.IndexByte(line[len(quoted):]+" ", ' ') + len(quoted)
		list, line = append(list, line[:n]), line[n:]
	}
	return list
}

// parser reads one line. After the first error it goes on with empty words.
type parser struct {
	words []string
	err   error
}

func (p *parser) operation() Operation {
	o := Operation{Kind: Kind(p.word())}
	switch o.Kind {
	case Put, Delete, DeleteRange, Merge, PutUntil:
		if p.flag("on") {
			o.On = Handle(p.word())
		}
		if o.Writes = []Write{p.write(string(o.Kind))}; o.On == "" {
			o.Durability = p.durability()
		}
	case Batch, Submit, Load:
		if o.Kind != Load {
			o.Durability = p.durability()
		}
		for len(p.words) > 0 && p.err == nil {
			o.Writes = append(o.Writes, p.write(p.word()))
		}
	case Get, Has, Size:
		o.From, o.Space, o.Key = Handle(p.word()), p.space(), p.key()
	case Scan:
		o.From, o.Space, o.KeysOnly = Handle(p.word()), p.space(), p.flag("keysonly")
	case SetClock:
		o.Seconds = p.number()
	case Commit:
		o.On, o.Durability = Handle(p.word()), p.durability()
	case Compact:
		o.Lower, o.Upper = p.key(), p.key()
	case NewIterator:
		o.On, o.From, o.Space = Handle(p.word()), Handle(p.word()), p.space()
		o.Lower, o.Upper, o.Prefix = p.key(), p.key(), p.key()
		o.KeysOnly = p.flag("keysonly")
	case SeekGE, SeekLT:
		o.On, o.Key = Handle(p.word()), p.key()
	case NewSnapshot, First, Last, Next, Prev, Close, Begin:
		o.On = Handle(p.word())
	case Restart:
		o.End = End(p.oneOf(string(CleanClose), string(Killed), string(PowerLost)))
		o.Verify, o.ReadOnly = p.flag("verify"), p.flag("readonly")
	case Sync, Flush, Checkpoint:
	default:
		p.fail("no operation %q", o.Kind)
	}
	return o
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf(format, args...)
	}
}

func (p *parser) word() string {
	if len(p.words) == 0 {
		p.fail("something is missing")
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *parser) oneOf(list ...string) string {
	w := p.word()
	if !slices.Contains(list, w) {
		p.fail("%q is none of %q", w, list)
	}
	return w
}

func (p *parser) flag(name string) bool {
	if len(p.words) == 0 || p.words[0] != name {
		return false
	}
	p.words = p.words[1:]
	return true
}

func (p *parser) durability() Durability {
	return Durability(p.oneOf(string(ByDefault), string(Synced), string(Unsynced), string(Queued)))
}

func (p *parser) write(kind string) Write {
	w := Write{Space: p.space(), Key: p.key()}
	switch Kind(kind) {
	case Put:
		w.Value = p.value()
	case Delete:
		w.Delete = true
	case DeleteRange:
		w.Range, w.End = true, p.key()
	case Merge:
		w.Merge, w.Value = true, p.value()
	case PutUntil:
		w.Value, w.Until = p.value(), p.number()
	default:
		p.err = fmt.Errorf("a batch has put and delete and so on, not %q", kind)
	}
	return w
}

// space reads the prefix of a keyspace, if there is one.
func (p *parser) space() []byte {
	if !p.flag("in") {
		return nil
	}
	return p.key()
}

func (p *parser) number() int {
	w := p.word()
	n, err := strconv.Atoi(w)
	if err != nil {
		p.fail("%q is not a number", w)
	}
	return n
}

func (p *parser) value() Value {
	var v Value
	var way byte
	w := p.word()
	if _, err := fmt.Sscanf(w, "%d%c%d", &v.Number, &way, &v.Size); err != nil || way != 'x' && way != 'r' || v.Size < 0 {
		p.fail("%q is not a value", w)
	}
	v.Regular = way == 'x'
	return v
}

func (p *parser) key() []byte {
	w := p.word()
	if w == "-" {
		return nil
	}
	quoted, err := strconv.QuotedPrefix(w)
	if err != nil {
		p.fail("%q is not a key", w)
		return nil
	}
	key, _ := strconv.Unquote(quoted)
	if rest := w[len(quoted):]; rest != "" {
		times, err := strconv.Atoi(strings.TrimPrefix(rest, "*"))
		if err != nil || times < 0 || rest[0] != '*' {
			p.fail("%q is not a key", w)
			return nil
		}
		key = strings.Repeat(key, times)
	}
	return []byte(key)
}
