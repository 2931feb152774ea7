package simulation

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/tests/fixture"
	"lsmdb/internal/vfstest"
)

// The troubles that no disk is to blame for: the system is short of something, or somebody
// changes the directory under the running database.

const (
	elsewhere = "/base/elsewhere" // where the directory is moved
	otherDir  = "/base/other"     // a database that may come in its place
)

// shortage is one that comes and goes.
type shortage struct {
	errno  syscall.Errno // 0: there is none
	kinds  *vfstest.Shortage
	period int  // steps until it goes, and until it comes again
	final  bool // it hit what may not be tried again
}

func (s *simulation) newShortage() shortage {
	errno := []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR, syscall.EDQUOT}[s.rng.IntN(6)]
	kinds := vfstest.NewShortage(errno)
	kinds.Begin()
	return shortage{errno: errno, kinds: kinds, period: 1 + s.rng.IntN(40)}
}

// hits says what becomes of an operation. Only what grows needs quota. The caller knows
// that the shortage is there at the moment.
func (s *shortage) hits(disk *vfstest.Disk, op *vfstest.Op) error {
	if s.errno == syscall.EDQUOT && (op.Kind == vfstest.OpWrite || op.Kind == vfstest.OpTruncate) {
		if info, err := disk.Stat(op.Name); err == nil && info.SizeBytes >= op.Offset+int64(op.Length) {
			return nil
		}
	}
	return s.kinds.Inject(*op)
}

// met returns how many operations were hit.
func (s *shortage) met() int {
	if s.errno == 0 {
		return 0
	}
	return s.kinds.Met()
}

// unparked says what becomes of an operation that does not park. Clients are spared: what
// they read they must find. So is who opens a table while somebody else is parked in a
// read: it would wait for the end of that, and others for its mutex, which the simulation
// takes for work.
func (w *world) unparked(op *vfstest.Op) error {
	spared := w.isReader()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.locked = w.locked || op.Kind == vfstest.OpLock
	spared = spared || op.Kind == vfstest.OpOpen && slices.ContainsFunc(w.parked, func(p *parking) bool { return strings.HasPrefix(p.key, "read ") })
	switch {
	case w.dead:
		return fixture.ErrDead
	case w.short && !spared:
		return w.s.faults.short.hits(w.s.disk, op)
	}
	return nil
}

// shortOf is the same for an operation that was parked and is let go.
func (w *world) shortOf(op *vfstest.Op) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.short {
		return nil
	}
	p := &w.s.faults
	err := p.short.hits(w.s.disk, op)
	p.short.final = p.short.final || err != nil && op.Kind == vfstest.OpRename
	return err
}

func (w *world) isTakenOver() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.takenOver
}

// isShortage reports whether an error tells of the shortage.
func (p *faultPlan) isShortage(err error) bool {
	return p.short.errno != 0 && errors.Is(err, p.short.errno)
}

// gone reports whether the files were removed, so that nobody can read them.
func (p *faultPlan) gone() bool { return p.displaced && p.displacement == removed }

// trouble lets begin and end what the plan says. Nobody is running.
func (w *world) trouble() {
	s, p := w.s, &w.s.faults
	due := s.steps >= p.from && s.steps < p.until
	w.mu.Lock()
	w.short = due && p.short.errno != 0 && (s.steps-p.from)/p.short.period%2 == 0
	p.happened = p.happened || w.short
	locked := w.locked
	w.mu.Unlock()
	if due && locked && p.displacement != "" && !p.displaced {
		p.displaced, p.happened = true, true
		s.met.Displaced++
		s.tell(p.displacement)
		s.fail(s.displace(p.displacement))
	}
}

// What others do to the directory.
const (
	moved       = "the directory is moved"
	replaced    = "the directory is replaced"
	removed     = "the directory is removed"
	lockRemoved = "LOCK is removed"
)

func (s *simulation) displace(how string) error {
	switch how {
	case moved:
		return s.disk.MoveDirectory(fixture.Dir, elsewhere)
	case replaced:
		return errors.Join(s.disk.MoveDirectory(fixture.Dir, elsewhere), s.disk.MoveDirectory(otherDir, fixture.Dir))
	case removed:
		return s.disk.RemoveDirectory(fixture.Dir)
	}
	return s.disk.Remove(fixture.Dir + "/" + base.LockName)
}

// putBack undoes that when the life is over. What was moved away must be all there, which
// the next open sees; nothing may have been made or changed in its place.
func (s *simulation) putBack() {
	if !s.faults.displaced {
		return
	}
	_, err := s.disk.Stat(fixture.Dir)
	if how := s.faults.displacement; (how == moved || how == removed) && !errors.Is(err, fs.ErrNotExist) {
		s.fail(fmt.Errorf("%s, and there is another in its place (%v)", how, err))
		return
	}
	switch s.faults.displacement {
	case moved:
		s.fail(s.disk.MoveDirectory(elsewhere, fixture.Dir))
	case replaced:
		s.fail(s.mustBeOther())
		s.fail(errors.Join(s.disk.MoveDirectory(fixture.Dir, otherDir), s.disk.MoveDirectory(elsewhere, fixture.Dir)))
	case removed:
		s.disk, s.history = s.image.CrashClone(nil), simulatedHistory{}
	}
}

// mustBeOther compares the database in the place of ours with what it was.
func (s *simulation) mustBeOther() error {
	want, found := fixture.FilesOf(s.t, s.image, otherDir), fixture.FilesOf(s.t, s.disk, fixture.Dir)
	for name, data := range want {
		if !bytes.Equal(found[name], data) {
			return fmt.Errorf("%s of another database was changed", name)
		}
	}
	if len(found) != len(want) {
		return fmt.Errorf("another database has %d files instead of %d", len(found), len(want))
	}
	return nil
}

// makeOther makes the other database.
func makeOther(disk *vfstest.Disk) error {
	d, err := db.Open(otherDir, fixture.On(disk, db.Options{}))
	if err != nil {
		return err
	}
	return errors.Join(d.Put([]byte("other"), nil), d.Close())
}
