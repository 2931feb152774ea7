package text

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"
)

// readAll returns the entries of an input as "key=value" and the error at its end,
// nil for io.EOF.
func readAll(r *Reader) (entries []string, err error) {
	for {
		e, err := r.Next()
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return entries, err
		}
		entry := fmt.Sprintf("%s=%s", e.Key, e.Value)
		if !e.Until.IsZero() {
			entry += "@" + FormatUntil(e.Until)
		}
		entries = append(entries, entry)
	}
}

func TestReadRecords(t *testing.T) {
	for _, c := range []struct {
		name, in string
		format   Format
		want     string
		line     int64
		word     string // in the error
	}{
		{"empty input", "", "", "", 0, ""},
		{"tsv", "a\tb\nc\td\n", "", "a=b c=d", 0, ""},
		{"no line feed at the end", "a\tb\nc\td", "", "a=b c=d", 0, ""},
		{"empty lines", "\n\na\tb\n\n", "", "a=b", 0, ""},
		{"carriage returns", "a\tb\r\nc\td\r\n", "", "a=b c=d", 0, ""},
		{"empty key and value", "\t\n", "", "=", 0, ""},
		{"escapes", `a\tb` + "\t" + `c\\d\x41\n` + "\n", TSV, "a\tb=c\\dA\n", 0, ""},
		{"no tab", "a\tb\nno tab\n", "", "a=b", 2, "no tab; KEY<TAB>VALUE is expected"},
		{"two tabs", "a\tb\tc\n", "", "", 1, `3 columns, and the third, "c" is no time like 2030-12-31T18:00:00Z; KEY<TAB>VALUE is expected, or KEY<TAB>VALUE<TAB>UNTIL`},
		{"three tabs", "a\tb\tc\td\n", "", "", 1, "4 columns; KEY<TAB>VALUE is expected"},
		{"an end", "a\tb\t2030-12-31T18:00:00.000000001+01:00\r\nc\td\n", "", "a=b@2030-12-31T17:00:00.000000001Z c=d", 0, ""},
		{"no end", "a\tb\t\n", "", "", 1, `the third, "" is no time`},
		{"the zero time", "a\tb\t0001-01-01T00:00:00Z\n", "", "", 1, "is no time"},
		{"mark", "\ufeffa\tb\r\n", "", "a=b", 0, ""},
		{"mark before json", "\ufeff{\"key\":\"a\",\"value\":\"b\"}", "", "a=b", 0, ""},
		{"mark before json of a known format", "\ufeff\n{\"key\":\"a\",\"value\":\"b\"}", JSONLines, "a=b", 0, ""},
		{"only a mark", "\ufeff", "", "", 0, ""},
		{"mark in a key", "a\ufeff\tb\n", "", "a\ufeff=b", 0, ""},
		{"marks of joined files", "\ufeffa\tb\n\ufeffc\td\n", "", "a=b", 2, "byte order mark"},
		{"bad escape in the key", `\q` + "\tb\n", "", "", 1, "key: unknown escape"},
		{"bad escape in the value", "a\t" + `\x1`, "", "", 1, "value: \\x wants"},
		{"lines count empty ones", "a\tb\n\n\nbad\n", "", "a=b", 4, "no tab"},
		{"json", `{"key":"a","value":"b"}` + "\n" + ` { "value" : "d" , "key" : "c" } `, "", "a=b c=d", 0, ""},
		{"json base64", `{"key_base64":"YQ==","value_base64":""}`, "", "a=", 0, ""},
		{"json escapes", `{"key":"\"\\\/\b\f\n\r\tA","value":"\u00e9\ud83d\ude00"}`, "", "\"\\/\b\f\n\r\tA=é😀", 0, ""},
		{"json with windows lines", "{\"key\":\"a\",\"value\":\"b\"}\r\n", "", "a=b", 0, ""},
		{"json in tsv", `{"key":"a"}` + "\tb", TSV, `{"key":"a"}=b`, 0, ""},
		{"tsv in json", "a\tb\n", JSONLines, "", 1, "an object, {...}, is wanted"},
		{"json with an end", `{"until":"1969-12-31T23:59:59.999999999Z","key":"a","value":"b"}` + "\n" + `{"key":"c","value":"d"}`, "", "a=b@1969-12-31T23:59:59.999999999Z c=d", 0, ""},
		{"json with a bad end", `{"key":"a","value":"b","until":"tomorrow"}`, "", "", 1, `field "until": "tomorrow" is no time`},
		{"json with two ends", `{"key":"a","value":"b","until":"2030-12-31T18:00:00Z","until":"2030-12-31T18:00:00Z"}`, "", "", 1, `"until" is there twice`},
		{"no value", `{"key":"a"}`, "", "", 1, `neither "value" nor "value_base64"`},
		{"no key", `{"value":"a"}`, "", "", 1, `neither "key" nor "key_base64"`},
		{"both keys", `{"key":"a","key_base64":"YQ==","value":""}`, "", "", 1, `both "key" and "key_base64"`},
		{"key twice", `{"key":"a","key":"b","value":""}`, "", "", 1, "twice"},
		{"unknown field", `{"key":"a","vlaue":"b"}`, "", "", 1, `unknown field "vlaue"`},
		{"another case", `{"KEY":"a","value":"b"}`, "", "", 1, `unknown field "KEY"`},
		{"number", `{"key":1,"value":"b"}`, "", "", 1, "column 8: a text in quotes"},
		{"null", `{"key":null,"value":"b"}`, "", "", 1, "column 8"},
		{"unfinished", `{"key":"a","value":"b`, "", "", 1, "a quote is not closed"},
		{"ends in an escape", `{"key":"a\`, "", "", 1, "a quote is not closed"},
		{"no end", `{"key":"a","value":"b"`, "", "", 1, "closing brace"},
		{"only a brace", `{`, "", "", 1, "the name of a field"},
		{"comma at the end", `{"key":"a","value":"b",}`, "", "", 1, "the name of a field"},
		{"no colon", `{"key" "a","value":"b"}`, "", "", 1, "a colon"},
		{"two objects", `{"key":"a","value":"b"}{}`, "", "", 1, "something follows"},
		{"unknown escape", `{"key":"\x41","value":""}`, "", "", 1, "unknown escape"},
		{"short escape", `{"key":"\u12","value":""}`, "", "", 1, "unknown escape"},
		{"high half alone", `{"key":"\ud83dx","value":""}`, "", "", 1, "half a character"},
		{"low half alone", `{"key":"\ude00","value":""}`, "", "", 1, "half a character"},
		{"two low halves", `{"key":"\ude00\ude00","value":""}`, "", "", 1, "half a character"},
		{"two high halves", `{"key":"\ud83d\ud83d","value":""}`, "", "", 1, "half a character"},
		{"control character", "{\"key\":\"a\x01\",\"value\":\"\"}", "", "", 1, "control character"},
		{"control character after an escape", "{\"key\":\"\\n\x01\",\"value\":\"\"}", "", "", 1, "control character"},
		{"not utf-8", "{\"key\":\"\xff\",\"value\":\"\"}", "", "", 1, "not UTF-8"},
		{"bad base64", `{"key_base64":"a","value":""}`, "", "", 1, `field "key_base64"`},
	} {
		entries, err := readAll(NewReader(strings.NewReader(c.in), c.format))
		if got := strings.Join(entries, " "); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		var malformed *MalformedLine
		switch {
		case c.word == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.word != "" && (!errors.As(err, &malformed) || malformed.Line != c.line || !strings.Contains(err.Error(), c.word)):
			t.Errorf("%s: got %v, want line %d and %q", c.name, err, c.line, c.word)
		}
	}
}

// A line longer than the reader's buffer comes in pieces.
func TestLongLines(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	in := "a\t" + long + "\nb\tc\nd\t" + long
	r := NewReader(iotest.HalfReader(strings.NewReader(in)), TSV)
	entries, err := readAll(r)
	if err != nil || len(entries) != 3 || entries[0] != "a="+long || entries[1] != "b=c" || entries[2] != "d="+long {
		t.Fatalf("got %d entries, %v", len(entries), err)
	}
	if r.ReadBytes != int64(len(in)) || r.Line != 3 {
		t.Errorf("read %d bytes of %d, %d lines", r.ReadBytes, len(in), r.Line)
	}
}

// An error of the input itself is no malformed line.
func TestReadError(t *testing.T) {
	broken := errors.New("broken")
	r := NewReader(io.MultiReader(strings.NewReader("a\tb\n"), iotest.ErrReader(broken)), "")
	entries, err := readAll(r)
	if len(entries) != 1 || err != broken {
		t.Errorf("got %q, %v", entries, err)
	}
}

func same(a, b Entry) bool {
	return bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value) && a.Until.Equal(b.Until)
}

func TestRecordsRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 2))
	for _, format := range []Format{JSONLines, TSV} {
		for range 300 {
			var entries []Entry
			var lines bytes.Buffer
			w := NewWriter(&lines, format)
			for range 1 + random.IntN(5) {
				e := Entry{Key: randomBytes(random, 30), Value: randomBytes(random, 60)}
				if random.IntN(2) == 0 {
					e.Until = time.Unix(0, int64(random.Uint64()))
				}
				entries = append(entries, e)
				if err := w.Write(e); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(lines.Bytes(), []byte("\n")); n != len(entries) || !utf8.Valid(lines.Bytes()) {
				t.Fatalf("%d entries in %d lines, or not UTF-8: %q", len(entries), n, lines.Bytes())
			}
			r := NewReader(bytes.NewReader(lines.Bytes()), "") // the format is guessed
			for _, want := range entries {
				if got, err := r.Next(); err != nil || !same(got, want) {
					t.Fatalf("%s: %q came back as %q, %v; %q", format, want, got, err, lines.Bytes())
				}
			}
		}
	}
}

// FuzzJSONLine compares with encoding/json: what is accepted means the same
// there, and what is refused is refused there or is one of the stricter rules.
func FuzzJSONLine(f *testing.F) {
	for _, seed := range []string{`{"key":"a","value":"b"}`, `{"key_base64":"YQ==","value":"\ud83d\ude00\n"}`, ` { "key" : "" , "value" : "\u0000" } `,
		`{"key":"\ud83d","value":""}`, `{"key":"a","key":"b"}`, `{}`, `{"key":"` + "\x7f" + `","value":"\/"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		if bytes.ContainsAny(line, "\n") {
			return
		}
		e, err := parseJSONLine(line)
		var reference struct {
			Until       *string
			Key         *string
			KeyBase64   *[]byte `json:"key_base64"`
			Value       *string
			ValueBase64 *[]byte `json:"value_base64"`
		}
		decoder := json.NewDecoder(bytes.NewReader(line))
		decoder.DisallowUnknownFields()
		referenceErr := decoder.Decode(&reference)
		if err != nil {
			return
		}
		if referenceErr != nil {
			t.Fatalf("%q accepted as %q; encoding/json says %v", line, e, referenceErr)
		}
		same := func(got []byte, text *string, encoded *[]byte) bool {
			return text != nil && encoded == nil && *text == string(got) || text == nil && encoded != nil && bytes.Equal(*encoded, got)
		}
		if !same(e.Key, reference.Key, reference.KeyBase64) || !same(e.Value, reference.Value, reference.ValueBase64) || (reference.Until == nil) != e.Until.IsZero() {
			t.Fatalf("%q means %q, in encoding/json %+v", line, e, reference)
		}
	})
}

func FuzzRecordRoundTrip(f *testing.F) {
	f.Add([]byte("key"), []byte("value"), int64(0))
	f.Add([]byte("{"), []byte("\t\n\r\\\xff\x00"), int64(math.MaxInt64))
	f.Add([]byte("  {"), []byte{}, int64(0))
	f.Fuzz(func(t *testing.T, key, value []byte, until int64) {
		want := Entry{Key: key, Value: value}
		if until != 0 {
			want.Until = time.Unix(0, until)
		}
		for _, line := range [][]byte{AppendTSV(nil, want), AppendJSONLine(nil, want)} {
			if got, err := NewReader(bytes.NewReader(line), "").Next(); err != nil || !same(got, want) {
				t.Fatalf("%q, line %q: got %q, %v", want, line, got, err)
			}
		}
	})
}

// FuzzRecords reads lines of anything in either format, or guessing it. What is
// accepted is the same when it is written and read again, no line yields more bytes
// than it has, and what is refused is refused by the number of a line.
func FuzzRecords(f *testing.F) {
	for _, seed := range []string{"a\tb\nc\td", "\t\n", "\\x7b\t\\\\\r\n", `{"key":"a","value":"b"}` + "\n{}", "\xff\x00\t\\x", "{\"key_base64\":\"/w==\",\"value\":\"\\ud83d\\ude00\"}", "\n\r\n \n"} {
		for format := range uint8(3) {
			f.Add([]byte(seed), format)
		}
	}
	f.Fuzz(func(t *testing.T, input []byte, form uint8) {
		format := []Format{"", JSONLines, TSV}[form%3]
		r := NewReader(bytes.NewReader(input), format)
		for total := 0; ; {
			e, err := r.Next()
			if err == io.EOF || errors.Is(err, ErrForeign) {
				return
			}
			if err != nil {
				var malformed *MalformedLine
				if !errors.As(err, &malformed) || malformed.Line < 1 || malformed.Line > int64(bytes.Count(input, []byte("\n")))+1 {
					t.Fatalf("%q: %v", input, err)
				}
				return
			}
			if total += len(e.Key) + len(e.Value); total > len(input) {
				t.Fatalf("%q yields %d bytes", input, total)
			}
			e.Key, e.Value = bytes.Clone(e.Key), bytes.Clone(e.Value)
			for _, line := range [][]byte{AppendTSV(nil, e), AppendJSONLine(nil, e)} {
				if again, err := NewReader(bytes.NewReader(line), "").Next(); err != nil || !same(again, e) {
					t.Fatalf("%q is written as %q and read as %q, %v", e, line, again, err)
				}
			}
		}
	})
}

func BenchmarkReadRecords(b *testing.B) {
	for _, format := range []Format{JSONLines, TSV} {
		b.Run(string(format), func(b *testing.B) {
			var lines bytes.Buffer
			w := NewWriter(&lines, format)
			for i := range 1000 {
				w.Write(Entry{Key: fmt.Appendf(nil, "user%012d", i), Value: bytes.Repeat([]byte("v"), 100)})
			}
			w.Flush()
			b.SetBytes(int64(lines.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if entries, err := drain(NewReader(bytes.NewReader(lines.Bytes()), format)); err != nil || entries != 1000 {
					b.Fatal(entries, err)
				}
			}
		})
	}
}

func drain(r *Reader) (entries int, err error) {
	for {
		if _, err := r.Next(); err == io.EOF {
			return entries, nil
		} else if err != nil {
			return entries, err
		}
		entries++
	}
}
