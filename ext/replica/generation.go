package replica

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"lsmdb/db"
)

// The directory of a state machine holds the databases state-000001, state-000002 and so on, of
// which each snapshot that is restored begins another, and the file CURRENT, which names the one
// that counts. Whatever else of these names lies there is left of something that did not get
// that far, and is removed when the directory is opened.
const (
	currentFile = "CURRENT"
	statePrefix = "state-"
)

// In a database, keys of commands and what the state machine notes for itself are apart.
var (
	dataPrefix = []byte("d")
	metaPrefix = []byte("m")
	positionAt = []byte("position")
)

// generation is a state: a database, between two snapshots that were restored.
type generation struct {
	number     uint64
	dir        string
	db         *db.DB
	data, meta *db.Keyspace

	at atomic.Pointer[position] // written by whoever applies

	// published is the time by which the engine has values end. It hides them, and drops them
	// for good when it merges, and it remembers the time durably. So it may not run ahead of the
	// commands that survive a power failure: those that come again from the log must find what
	// they have found on all other nodes. See publish.
	published atomic.Int64

	// Guarded by FSM.mu.
	users    int
	replaced bool // the last user removes it
}

// position is how far a state has come. It is written with the changes themselves.
type position struct {
	applied   uint64 // index of the newest log entry
	clock     int64  // latest time that a command carried
	lastUntil int64  // latest time at which a value ends that was ever put
}

const positionBytes = 24

func (p position) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, p.applied)
	b = binary.BigEndian.AppendUint64(b, uint64(p.clock))
	return binary.BigEndian.AppendUint64(b, uint64(p.lastUntil))
}

func (g *generation) position() position { return *g.at.Load() }

// openCurrent opens the state that counts in dir, and removes what is left of others.
func openCurrent(dir string, o *db.Options) (*generation, error) {
	number, err := currentNumber(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !o.MustExist:
		return create(dir, o)
	case err != nil:
		return nil, err
	}
	g, err := openGeneration(dir, number, o)
	if err != nil {
		return nil, err
	}
	// The database is locked by now, so nobody else is at work here.
	return g, g.closeIf(removeOthers(dir, number))
}

// create makes the first state. What is left of an earlier try is completed.
func create(dir string, o *db.Options) (*generation, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	g, err := openDatabase(dir, 1, o)
	if err != nil {
		return nil, err
	}
	if _, err := currentNumber(dir); err == nil { // somebody else was faster, and had the lock until just now
		return nil, g.closeIf(db.ErrLocked)
	}
	g.at.Store(new(position))
	if err := g.meta.Put(positionAt, position{}.encode(), db.Sync); err != nil {
		return nil, g.closeIf(err)
	}
	return g, g.closeIf(setCurrent(dir, 1))
}

// openGeneration opens a state that there is.
func openGeneration(dir string, number uint64, o *db.Options) (*generation, error) {
	existing := *o
	existing.MustExist = true
	g, err := openDatabase(dir, number, &existing)
	if err != nil {
		return nil, err
	}
	at, err := readPosition(g.meta)
	g.at.Store(&at)
	return g, g.closeIf(err)
}

func openDatabase(dir string, number uint64, o *db.Options) (*generation, error) {
	g := &generation{number: number, dir: statePath(dir, number)}
	options := *o
	options.Now = func() time.Time { return time.Unix(0, g.published.Load()) }
	d, err := db.Open(g.dir, &options)
	if err != nil {
		return nil, err
	}
	g.db, g.data, g.meta = d, d.Keyspace(dataPrefix), d.Keyspace(metaPrefix)
	return g, nil
}

// reading is a keyspace, or a snapshot of one.
type reading interface {
	Get(key []byte) ([]byte, error)
	NewIterator(*db.IterOptions) (*db.Iterator, error)
}

// readPosition reads how far a state has come.
func readPosition(meta reading) (position, error) {
	value, err := meta.Get(positionAt)
	switch {
	case errors.Is(err, db.ErrNotFound):
		return position{}, errors.New("the database is not that of a state machine")
	case err != nil:
		return position{}, err
	case len(value) != positionBytes:
		return position{}, fmt.Errorf("the position of the state machine has %d bytes, which are %d", len(value), positionBytes)
	}
	u := binary.BigEndian.Uint64
	return position{u(value), int64(u(value[8:])), int64(u(value[16:]))}, nil
}

// closeIf closes the database if there is an error, which it returns.
func (g *generation) closeIf(err error) error {
	if err != nil {
		err = errors.Join(err, g.db.Close())
	}
	return err
}

// discard removes a state that nobody uses.
func (g *generation) discard() {
	// It is only to give back its space, and what stays is removed with the next opening.
	_ = g.db.Close()
	_ = os.RemoveAll(g.dir)
}

// publish lets the engine's clock catch up with that of the commands: first everything that
// was applied until then is made durable. Where no value can end, there is nothing to do.
func (g *generation) publish(ctx context.Context) error {
	p := g.position()
	if old := g.published.Load(); p.clock <= old || p.lastUntil <= old {
		return nil
	}
	if err := g.db.Sync(ctx); err != nil {
		return err
	}
	g.reached(p.clock)
	return nil
}

// reached moves the engine's clock to a time that is durable. It never moves back.
func (g *generation) reached(clock int64) {
	for old := g.published.Load(); old < clock && !g.published.CompareAndSwap(old, clock); {
		old = g.published.Load()
	}
}

// sight is data as of a position, by the engine's clock of then or later.
type sight struct {
	data      reading
	at        position
	published int64
}

// now is what the state shows now.
func (g *generation) now() sight { return sight{g.data, g.position(), g.published.Load()} }

// get looks up a key by the clock of the commands, which may be ahead of the engine's. The value
// is nil where there is none; until is 0 where it stays.
func (s sight) get(key []byte) (value []byte, until int64, err error) {
	if s.at.lastUntil <= s.published { // nothing ends that the engine does not know of
		if value, err = s.data.Get(key); errors.Is(err, db.ErrNotFound) {
			return nil, 0, nil
		}
		return present(value), 0, err
	}
	it, err := s.data.NewIterator(&db.IterOptions{Prefix: key})
	if err != nil {
		return nil, 0, err
	}
	defer it.Close()
	if !it.SeekGE(key) || !bytes.Equal(it.Key(), key) {
		return nil, 0, it.Err()
	}
	if t := it.Until(); !t.IsZero() {
		if until = nanoseconds(t); until <= s.at.clock {
			return nil, 0, nil
		}
	}
	value = bytes.Clone(it.Value())
	if err := it.Err(); err != nil {
		return nil, 0, err
	}
	return present(value), until, nil
}

// present makes an empty value one that is not nil.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}

func statePath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%s%06d", statePrefix, number))
}

// currentNumber reads CURRENT.
func currentNumber(dir string) (number uint64, err error) {
	path := filepath.Join(dir, currentFile)
	content, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscanf(string(content), statePrefix+"%d\n", &number); err != nil || string(content) != filepath.Base(statePath("", number))+"\n" {
		return 0, fmt.Errorf("%s names no state: %q", path, content)
	}
	return number, nil
}

// setCurrent makes CURRENT name another state, durably. When it fails, CURRENT names either.
func setCurrent(dir string, number uint64) error {
	temporary := filepath.Join(dir, currentFile+".new")
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, filepath.Base(statePath("", number)))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil { // the state itself, before what names it
		return err
	}
	if err := os.Rename(temporary, filepath.Join(dir, currentFile)); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	if runtime.GOOS == "windows" { // which has no such thing
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// removeOthers removes all states but one.
func removeOthers(dir string, number uint64) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), statePrefix) && e.Name() != filepath.Base(statePath("", number)) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}
