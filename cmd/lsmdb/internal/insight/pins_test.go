package insight

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"lsmdb/cmd/lsmdb/internal/console"
	"lsmdb/db"
)

func TestPins(t *testing.T) {
	now := time.Unix(1000, 0).UTC()
	list := []db.Pin{
		{Kind: "snapshot", Since: now.Add(-90 * time.Second), Seq: 1234, Bytes: 5_000_000, Where: "main.backup main.go:17"},
		{Kind: "iterator", Since: now.Add(-2 * time.Second), Seq: 5678},
	}
	shown := func(list []db.Pin, asJSON bool) string {
		t.Helper()
		var out bytes.Buffer
		p := &pins{console: &console.Console{Out: &out, JSON: asJSON}}
		if err := p.print(list, now); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	lines := strings.Split(shown(list, false), "\n")
	for i, want := range []string{"What keeps something, oldest first", "kind since sequence keeps opened by", "", "snapshot 1m30s 1,234 5.00 MB main.backup main.go:17", "iterator 2.00 s 5,678 0 B"} {
		if got := strings.Join(strings.Fields(lines[i]), " "); want != "" && got != want {
			t.Errorf("line %d is %q, want %q", i, got, want)
		}
	}
	var back []db.Pin
	if err := json.Unmarshal([]byte(shown(list, true)), &back); err != nil || len(back) != 2 || back[0] != list[0] || back[1] != list[1] {
		t.Errorf("got %+v, %v", back, err)
	}
	list[0].Where = "what another process says\x1b[2J"
	if got := shown(list, false); !strings.Contains(got, `says\x1B[2J`) && !strings.Contains(got, `says\x1b[2J`) {
		t.Errorf("a terminal would obey %q", got)
	}
	if got := shown(nil, true); got != "[]\n" {
		t.Errorf("nothing is %q", got)
	}
}
