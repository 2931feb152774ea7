package db

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"time"
	"unicode/utf8"

	"lsmdb/internal/base"
)

// Explanation tells how a Get of a key comes to its answer: whom it asked, in which order,
// and what decided.
type Explanation struct {
	Key       []byte        `json:"key"` // in JSON as text, or in base64 as "key_base64" where it is none
	Found     bool          `json:"found"`
	DecidedBy string        `json:"decided_by"` // put, delete, range-delete, expiry, merge or nothing; empty where Get has an error
	Level     int           `json:"level"`      // of the table with the entry that decided, of operands the newest; -1: a memtable has it, or nothing decided
	Table     uint64        `json:"table"`      // the number of that table; 0 likewise
	Steps     []ExplainStep `json:"steps"`      // in the order in which they were asked
	Time      time.Duration `json:"time_ns"`    // of all, the explaining itself included
}

// ExplainStep is a memtable or a table that was asked. The last one had what decided, or had
// the value onto which operands were merged.
type ExplainStep struct {
	Place  string        `json:"place"`  // memtable, sealed memtable or table
	Level  int           `json:"level"`  // of a table; -1: it is none
	Table  uint64        `json:"table"`  // its number
	Filter string        `json:"filter"` // what the table's filter said: absent, or maybe; empty where none was asked
	Read   bool          `json:"read"`   // the block where the key belongs was read from the file
	Cached bool          `json:"cached"` // it was found in the cache
	Time   time.Duration `json:"time_ns"`
}

// Explain looks a key up as Get does, and tells how that went: what was asked, what filters
// said, what was read, and what kind of entry decided. Compactions forget how things came
// about: where a delete has done its work, nothing is left of it to decide. The look fills
// the cache as that of Get does.
//
// Errors: those of Get but for ErrNotFound, with the steps up to there; and that of ctx, which
// bounds the wait for what was Queued and is asked before the look.
func (d *DB) Explain(ctx context.Context, key []byte) (Explanation, error) {
	e := Explanation{Key: bytes.Clone(key), Level: -1, Steps: []ExplainStep{}}
	l := &look{key: key}
	if err := d.lookUntil(ctx, l); err != nil {
		return e, err
	}
	defer l.Leave()
	x, err := l.Explain(l.at, key)
	e.Found, e.DecidedBy, e.Level, e.Table, e.Time = x.Found, x.DecidedBy, x.Level, x.Table, x.Time
	for _, s := range x.Steps {
		e.Steps = append(e.Steps, ExplainStep(s))
	}
	return e, err
}

// fields are those of an Explanation, without its methods.
type fields Explanation

// explanationJSON is an Explanation with its key in one of two forms.
type explanationJSON struct {
	Text   *string `json:"key,omitempty"`
	Base64 []byte  `json:"key_base64,omitempty"`
	fields
}

// MarshalJSON writes the key as text, or in base64 where it is not UTF-8.
func (e Explanation) MarshalJSON() ([]byte, error) {
	form := explanationJSON{fields: fields(e)}
	if text := string(e.Key); utf8.ValidString(text) {
		form.Text = &text
	} else {
		form.Base64 = e.Key
	}
	return json.Marshal(form)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Explanation) UnmarshalJSON(p []byte) error {
	var form explanationJSON
	if err := json.Unmarshal(p, &form); err != nil {
		return err
	}
	if *e, e.Key = Explanation(form.fields), form.Base64; form.Text != nil {
		e.Key = []byte(*form.Text)
	}
	return nil
}

// Space is what a range of keys takes in tables, in bytes of the files: the sum of live,
// dead, tombstones and expired. What lies in memtables, and in the log, is not counted.
type Space struct {
	LiveBytes      int64        `json:"live_bytes"`      // what somebody sees who comes now
	DeadBytes      int64        `json:"dead_bytes"`      // values and operands that were overwritten or deleted
	TombstoneBytes int64        `json:"tombstone_bytes"` // deletes and range deletes
	ExpiredBytes   int64        `json:"expired_bytes"`   // values that have ended
	PinnedBytes    int64        `json:"pinned_bytes"`    // the part of DeadBytes that an open snapshot or transaction sees, so that no compaction drops it
	Levels         []LevelSpace `json:"levels"`          // level 0 first
}

// LevelSpace is the part of a Space that lies in one level of the tree.
type LevelSpace struct {
	Level          int   `json:"level"`
	LiveBytes      int64 `json:"live_bytes"`
	DeadBytes      int64 `json:"dead_bytes"`
	TombstoneBytes int64 `json:"tombstone_bytes"`
	ExpiredBytes   int64 `json:"expired_bytes"`
}

// SpaceOf estimates what the keys of [start, end) take, and what of that a Compact would
// give back: a nil start or end is no bound; see PrefixRange. It reads samples of blocks,
// no more of them in a large database than in a small one, past the cache. A range of some
// 64 blocks or less is read whole.
//
// Errors: those of ctx, which bounds the wait for what was Queued as well; a *CorruptionError
// where a sample is damaged; ErrClosed.
func (d *DB) SpaceOf(ctx context.Context, start, end []byte) (Space, error) {
	var snapshots []base.Seq
	if d.pipeline != nil {
		snapshots = d.pipeline.Readers(d.published.Ended).Snapshots
	}
	l := &look{}
	if err := d.lookUntil(ctx, l); err != nil {
		return Space{}, err
	}
	levels, err := l.Space(ctx, l.at, start, end, snapshots)
	if err != nil && d.closed.Load() { // its files went away meanwhile
		err = ErrClosed
	}
	if err != nil {
		return Space{}, err
	}
	s, pinned := Space{Levels: make([]LevelSpace, NumLevels)}, 0.0
	for i, part := range levels {
		level := LevelSpace{i, rounded(part.Live), rounded(part.Dead), rounded(part.Tombstone), rounded(part.Expired)}
		s.Levels[i] = level
		s.LiveBytes += level.LiveBytes
		s.DeadBytes += level.DeadBytes
		s.TombstoneBytes += level.TombstoneBytes
		s.ExpiredBytes += level.ExpiredBytes
		pinned += part.Pinned
	}
	s.PinnedBytes = min(rounded(pinned), s.DeadBytes)
	return s, nil
}

func rounded(bytes float64) int64 { return int64(math.Round(bytes)) }
