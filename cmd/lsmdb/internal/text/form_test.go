package text

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestEscaping(t *testing.T) {
	for _, c := range []struct{ plain, escaped string }{
		{"", ""},
		{"fruit/apple", "fruit/apple"},
		{"two words", "two words"},
		{"größe 好 😀", "größe 好 😀"},
		{"a\tb\nc\rd\\e", `a\tb\nc\rd\\e`},
		{"\x00\x1f\x7f\xff", `\x00\x1f\x7f\xff`},
		{"half \xf0\x9f", `half \xf0\x9f`},
		{"\u200b\u202e", `\xe2\x80\x8b\xe2\x80\xae`}, // invisible, and one that turns the writing round
		{"\ufffd", "\ufffd"},
	} {
		if got := string(AppendEscaped(nil, []byte(c.plain))); got != c.escaped {
			t.Errorf("%q escaped is %s, want %s", c.plain, got, c.escaped)
		}
		if got, err := parseEscaped([]byte(c.escaped)); err != nil || string(got) != c.plain {
			t.Errorf("%s parsed is %q, %v, want %q", c.escaped, got, err, c.plain)
		}
	}
}

func TestParseEscapedErrors(t *testing.T) {
	for _, c := range []struct{ in, word string }{
		{`a\`, "at the end"},
		{`\q`, `\q`},
		{`\x`, "two hexadecimal digits"},
		{`\x1`, "two hexadecimal digits"},
		{`\x1g`, "two hexadecimal digits"},
		{`\` + "\x01", `\x01`},
	} {
		if got, err := parseEscaped([]byte(c.in)); err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%q: got %q, %v, want an error with %q", c.in, got, err, c.word)
		}
	}
}

// randomBytes makes keys and values of all sorts: text, escapes, binary, empty.
func randomBytes(random *rand.Rand, most int) []byte {
	p := make([]byte, random.IntN(most+1))
	alphabets := []string{"", "abc", "\\\t\n\r \"x", "{}\":,é好😀"}
	alphabet := []rune(alphabets[random.IntN(len(alphabets))])
	if len(alphabet) == 0 {
		for i := range p {
			p[i] = byte(random.Uint32())
		}
		return p
	}
	var b bytes.Buffer
	for range p {
		b.WriteRune(alphabet[random.IntN(len(alphabet))])
	}
	return b.Bytes()
}

func TestTextFormsRoundTrip(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for range 2000 {
		p := randomBytes(random, 40)
		for _, form := range []Form{{escaped: true}, {Hex: true}, {Base64: true}} {
			shown := form.Format(p)
			if got, err := form.Parse("key", shown); err != nil || !bytes.Equal(got, p) {
				t.Fatalf("%+v: %q became %q and then %q, %v", form, p, shown, got, err)
			}
		}
		shown := Quote(p)
		if words, err := SplitWords("x " + shown + " y"); err != nil || len(words) != 3 || !bytes.Equal(words[1].Text, p) {
			t.Fatalf("quote: %q became %s and then %v, %v", p, shown, words, err)
		}
	}
}

func FuzzEscaped(f *testing.F) {
	f.Add([]byte("plain"))
	f.Add([]byte("\\ \t\n\r \x00\xff \xf0\x9f"))
	f.Fuzz(func(t *testing.T, p []byte) {
		escaped := AppendEscaped(nil, p)
		if bytes.ContainsAny(escaped, "\n\r\t\x00") {
			t.Fatalf("%q escaped is %q", p, escaped)
		}
		if got, err := parseEscaped(escaped); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("%q became %q and then %q, %v", p, escaped, got, err)
		}
		if decoded, err := parseEscaped(p); err == nil {
			if again, err := parseEscaped(AppendEscaped(nil, decoded)); err != nil || !bytes.Equal(again, decoded) {
				t.Fatalf("%q means %q, which comes back as %q, %v", p, decoded, again, err)
			}
		}
	})
}
