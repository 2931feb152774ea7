package beside_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"lsmdb/db"
	"lsmdb/internal/beside"
)

// written are entries as they may come, one of them longer than what is sent at a time.
var written = []beside.Entry{
	{Key: []byte{}, Value: []byte{}},
	{Key: []byte("key"), Value: []byte("value")},
	{Key: []byte{0, 0xff, '\n'}, Value: bytes.Repeat([]byte{0, 1, 2}, beside.StreamBytes), Until: time.Unix(0, 1893456000000000001)},
	{Key: bytes.Repeat([]byte("k"), db.MaxKeyBytes), Value: []byte{3}, Until: time.Unix(0, 1)},
	{Key: []byte("last"), Value: nil},
}

func stream(t *testing.T, end error) []byte {
	t.Helper()
	var to bytes.Buffer
	w := beside.NewStreamWriter(&to)
	for _, e := range written {
		if err := w.Entry(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(end); err != nil {
		t.Fatal(err)
	}
	return to.Bytes()
}

func read(from io.Reader) (entries []beside.Entry, err error) {
	err = beside.ReadStream(from, func(e beside.Entry) error {
		entries = append(entries, beside.Entry{Key: bytes.Clone(e.Key), Value: bytes.Clone(e.Value), Until: e.Until})
		return nil
	})
	return entries, err
}

func TestStream(t *testing.T) {
	entries, err := read(bytes.NewReader(stream(t, nil)))
	if err != nil || len(entries) != len(written) {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for i, e := range entries {
		if w := written[i]; !bytes.Equal(e.Key, w.Key) || !bytes.Equal(e.Value, w.Value) || !e.Until.Equal(w.Until) {
			t.Errorf("entry %d came as %.40q, %.40q, %v", i, e.Key, e.Value, e.Until)
		}
	}
	if entries, err := read(bytes.NewReader(stream(t, db.ErrNoMerger))); !errors.Is(err, db.ErrNoMerger) || len(entries) != len(written) {
		t.Errorf("%d entries before a failure, %v", len(entries), err)
	}
	stop := errors.New("stop")
	if err := beside.ReadStream(bytes.NewReader(stream(t, nil)), func(beside.Entry) error { return stop }); err != stop {
		t.Errorf("the visitor's error became %v", err)
	}
}

// A stream that was cut off anywhere is noticed, as is one that lost an entry.
func TestStreamCut(t *testing.T) {
	for _, whole := range [][]byte{stream(t, nil), stream(t, db.ErrClosed)} {
		for cut := 0; cut < len(whole); cut += 1 + cut/50 {
			if _, err := read(bytes.NewReader(whole[:cut])); !errors.Is(err, beside.ErrLost) {
				t.Fatalf("cut at %d of %d: %v", cut, len(whole), err)
			}
		}
		if _, err := read(bytes.NewReader(whole[:len(whole)-1])); !errors.Is(err, beside.ErrLost) {
			t.Fatalf("without the last byte: %v", err)
		}
	}
	if _, err := read(bytes.NewReader(stream(t, nil)[3:])); !errors.Is(err, beside.ErrLost) {
		t.Errorf("without the first entry: %v", err)
	}
	if _, err := read(strings.NewReader("\x09")); !errors.Is(err, beside.ErrLost) {
		t.Errorf("an unknown frame: %v", err)
	}
}

// A length is not believed before so many bytes have come.
func TestStreamClaims(t *testing.T) {
	claim := binary.AppendUvarint([]byte{1}, 1<<62)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := read(bytes.NewReader(claim)); !errors.Is(err, beside.ErrLost) {
		t.Errorf("got %v", err)
	}
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 16<<20 {
		t.Errorf("%d bytes were taken", taken)
	}
}

// What can be tested for on one side can be tested for on the other, and is said in the same
// words.
func TestFailures(t *testing.T) {
	damage := &db.CorruptionError{File: "000003.sst", Offset: 17, Detail: "checksum"}
	for _, c := range []struct{ sent, is error }{
		{db.ErrNotFound, db.ErrNotFound},
		{fmt.Errorf("reading: %w", db.ErrNoMerger), db.ErrNoMerger},
		{db.ErrReadOnly, db.ErrReadOnly},
		{db.ErrDiskFull, db.ErrDiskFull},
		{db.ErrLocked, db.ErrLocked},
		{db.ErrIncompatible, db.ErrIncompatible},
		{&fs.PathError{Op: "mkdir", Path: "x", Err: fs.ErrPermission}, fs.ErrPermission},
		{fmt.Errorf("x: %w", fs.ErrExist), fs.ErrExist},
		{damage, db.ErrCorrupt},
		{fmt.Errorf("link: %w", damage), db.ErrCorrupt},
		{errors.New("something else"), nil},
	} {
		_, err := read(bytes.NewReader(stream(t, c.sent)))
		if err == nil || err.Error() != c.sent.Error() || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%v came as %v", c.sent, err)
		}
		if found, is := errors.AsType[*db.CorruptionError](err); is != (c.is == db.ErrCorrupt) || is && !reflect.DeepEqual(found, damage) {
			t.Errorf("%v came with damage %+v", c.sent, found)
		}
	}
	for _, sent := range []error{db.ErrClosed, context.Canceled} { // over there, not here
		if _, err := read(bytes.NewReader(stream(t, sent))); !errors.Is(err, beside.ErrLost) || errors.Is(err, sent) {
			t.Errorf("%v came as %v", sent, err)
		}
	}
}
