package engine

import (
	"errors"
	"fmt"
	"testing"
)

func TestEachKeyBelongsToOneDatabase(t *testing.T) {
	o := Options{Dir: t.TempDir(), MemtableBytes: 1 << 20, CacheBytes: 1 << 20, FilterBits: 10}
	m, err := OpenMany(lsmdbKind, o, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var held [4]int
	const keys = 400
	for i := range keys {
		key := fmt.Appendf(nil, "%016x", i*4)
		if err := m.Put(key, key); err != nil {
			t.Fatal(err)
		}
		if value, err := m.Get(nil, key); err != nil || string(value) != string(key) {
			t.Fatalf("get: %q, %v", value, err)
		}
		found := 0
		for at, e := range m {
			if _, err := e.Get(nil, key); err == nil {
				held[at]++
				found++
			}
		}
		if found != 1 {
			t.Fatalf("key %q lies in %d databases", key, found)
		}
	}
	for at, n := range held {
		if n < keys/8 {
			t.Errorf("database %d holds %d keys of %d", at, n, keys)
		}
	}
}

func TestManyCloseWhatTheyOpenedWhenOneFails(t *testing.T) {
	opened, closed := 0, 0
	failing := Kind{Name: "failing", Open: func(Options) (Engine, error) {
		if opened++; opened == 3 {
			return nil, errors.New("no third")
		}
		return closing{closed: &closed}, nil
	}}
	if _, err := OpenMany(failing, Options{Dir: t.TempDir()}, 5); err == nil || err.Error() != "no third" {
		t.Errorf("error: %v", err)
	}
	if opened != 3 || closed != 2 {
		t.Errorf("%d opened, %d closed", opened, closed)
	}
}

// closing counts how often it is closed.
type closing struct {
	Engine
	closed *int
}

func (c closing) Close() error {
	*c.closed++
	return nil
}
