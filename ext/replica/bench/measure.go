package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"testing"
	"time"
)

// measurement measures rows, all stores in turns.
type measurement struct {
	ctx    context.Context // ends it between two figures
	dir    string
	rounds int
	each   time.Duration
	told   io.Writer // how far it is
}

// figures are the nanoseconds that an operation of a row took, by store and round. A store that
// refuses has none.
type figures struct {
	row         row
	kinds       []kind
	nanoseconds [][]float64
}

// measure measures one row. The store that begins changes from round to round.
func (m *measurement) measure(r row, kinds []kind) (f figures, err error) {
	f = figures{row: r, kinds: kinds, nanoseconds: make([][]float64, len(kinds))}
	benchtime := r.benchtime
	if benchtime == "" {
		benchtime = m.each.String()
	}
	if err := flag.Set("test.benchtime", benchtime); err != nil {
		return f, err
	}
	prepared := make([]store, len(kinds))
	defer func() {
		for i, s := range prepared {
			if s != nil {
				err = errors.Join(err, s.Close(), os.RemoveAll(m.path(kinds[i])))
			}
		}
	}()
	for i, k := range kinds {
		if r.prepare != nil {
			if prepared[i], err = m.open(k); err == nil {
				err = r.prepare(prepared[i])
			}
			if err != nil {
				return f, fmt.Errorf("%s, %s: %w", r.name, k.name, err)
			}
		}
	}
	for round := range m.rounds {
		for n := range kinds {
			i := (round + n) % len(kinds)
			if m.ctx.Err() != nil {
				return f, m.ctx.Err()
			}
			fmt.Fprintf(m.told, "%s, round %d of %d: %s\033[K\r", r.name, round+1, m.rounds, kinds[i].name)
			took, err := m.once(r, kinds[i], prepared[i])
			if err != nil {
				return f, fmt.Errorf("%s, %s: %w", r.name, kinds[i].name, err)
			}
			if took > 0 {
				f.nanoseconds[i] = append(f.nanoseconds[i], took)
			}
		}
	}
	fmt.Fprint(m.told, "\033[K")
	return f, nil
}

// once returns the nanoseconds of an operation, 0 if the store refuses it.
func (m *measurement) once(r row, k kind, prepared store) (nanoseconds float64, err error) {
	runtime.GC()
	result := testing.Benchmark(func(b *testing.B) {
		s := prepared
		if s == nil {
			var opening error
			if s, opening = m.open(k); opening != nil {
				err = errors.Join(err, opening)
				b.Fatal(opening)
			}
			defer func() {
				b.StopTimer()
				err = errors.Join(err, s.Close(), os.RemoveAll(m.path(k)))
			}()
		}
		b.ResetTimer()
		r.run(b, s)
	})
	if result.N == 0 {
		return 0, err
	}
	return float64(result.T.Nanoseconds()) / float64(result.N), err
}

func (m *measurement) path(k kind) string { return fmt.Sprintf("%s/%s", m.dir, k.name) }

func (m *measurement) open(k kind) (store, error) {
	if err := os.MkdirAll(m.path(k), 0o700); err != nil {
		return nil, err
	}
	return k.open(m.path(k))
}
