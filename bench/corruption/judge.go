package corruption

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"

	"lsmdb/bench/engine"
)

// Verdict is what became of a mutant.
type Verdict string

// The verdicts.
const (
	Detected Verdict = "detected"    // opening or reading gave an error
	Harmless Verdict = "harmless"    // everything was there, and nothing else
	LogEnd   Verdict = "log end"     // as above, but for the end of the log of a killed process: may be an unfinished write
	Lost     Verdict = "silent loss" // acknowledged, synced writes were missing without an error
	Wrong    Verdict = "wrong data"  // something was shown that was never written, or reading and scanning disagreed
	Panic    Verdict = "panic"       // or the process ended
	Hang     Verdict = "hang"        // no answer for a long time
	Memory   Verdict = "memory"      // more than a bound that is far beyond need
)

// Verdicts in the order of the table.
var Verdicts = []Verdict{Detected, Harmless, LogEnd, Lost, Wrong, Panic, Hang, Memory}

// Finding is a verdict with its reason.
type Finding struct {
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail,omitempty"`
}

// Judge opens a mutant in dir and reads everything twice, by iterator and by key.
func Judge(name, dir string, m Mutant, killed bool) (f Finding) {
	defer func() {
		if p := recover(); p != nil {
			f = Finding{Panic, fmt.Sprintf("%v\n%s", p, debug.Stack())}
		}
	}()
	kind, err := engine.Find(name)
	if err != nil {
		panic(err)
	}
	e, err := kind.Open(options(dir))
	if err != nil {
		return Finding{Detected, err.Error()}
	}
	defer e.Close() // an error of it tells nobody about what was read
	found, err := read(e)
	if err != nil {
		return Finding{Detected, err.Error()}
	}
	return assess(found, m, killed)
}

// errDisagree: a value was scanned and not found by its key, or the other way round.
var errDisagree = errors.New("reading and scanning disagree")

// read returns everything. A key of which the two ways of reading differ has the
// text of errDisagree as its value.
func read(e engine.Engine) (map[string][]byte, error) {
	found := make(map[string][]byte)
	it, err := e.NewIterator(false)
	if err != nil {
		return nil, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		found[string(it.Key())] = bytes.Clone(it.Value())
	}
	if err := it.Close(); err != nil {
		return nil, err
	}
	for i := range allKeys {
		got, err := e.Get(nil, key(i))
		scanned, there := found[string(key(i))]
		switch {
		case errors.Is(err, engine.ErrNotFound):
			if there {
				found[string(key(i))] = []byte(errDisagree.Error())
			}
		case err != nil:
			return nil, err
		case !there || !bytes.Equal(got, scanned):
			found[string(key(i))] = []byte(errDisagree.Error())
		}
	}
	return found, nil
}

// assess compares what was read without an error with what was written.
func assess(found map[string][]byte, m Mutant, killed bool) Finding {
	if equal(found, state(newKeys)) {
		return Finding{Verdict: Harmless}
	}
	isEnd := killed && (FileKind(m.File) == "log" || FileKind(m.File) == "value log")
	if isEnd && equal(found, state(newKeys-1)) {
		return Finding{Verdict: LogEnd}
	}
	endsThere := m.End || m.Change == "cut" || m.Change == "missing" || m.Change == "stale"
	for n := 0; n < newKeys && isEnd && endsThere; n++ {
		if equal(found, state(n)) {
			return Finding{Verdict: LogEnd}
		}
	}
	for k, v := range found {
		var i int
		if _, err := fmt.Sscanf(k, "key%06d", &i); err != nil || k != string(key(i)) || i >= allKeys ||
			!bytes.Equal(v, value(i, 0)) && !bytes.Equal(v, value(i, 1)) {
			return Finding{Wrong, fmt.Sprintf("%q has %q", k, v)}
		}
	}
	return Finding{Lost, fmt.Sprintf("%d of %d keys were found", len(found), len(state(newKeys)))}
}

func equal(a, b map[string][]byte) bool { return maps.EqualFunc(a, b, bytes.Equal) }
