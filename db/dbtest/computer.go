package dbtest

import (
	"math/rand/v2"
	"sync"
	"testing"

	"lsmdb/db"
	"lsmdb/internal/door"
	"lsmdb/internal/vfs"
	"lsmdb/internal/vfstest"
)

// computer is what one database runs on. It can lose its power.
type computer struct {
	dir     string // of the database
	disk    *vfstest.Disk
	options db.Options
	seed    *seed
	name    string // the power failures that led to it: "2.1" is the first after the second

	mu      sync.Mutex // guards the following: several goroutines may crash one database
	chance  *rand.Rand
	crashes int
}

// seed is that of a database of Open, and of those that became of it by Crash.
type seed struct {
	number uint64
	told   sync.Map // names of tests that have logged it
}

// computers holds the *computer of every *db.DB whose test is not over.
var computers sync.Map

func computerOf(d *db.DB) *computer {
	c, _ := computers.Load(d)
	found, _ := c.(*computer)
	return found
}

// newComputer has an empty directory on its disk.
func newComputer(dir string, options db.Options, number uint64) (*computer, error) {
	c := &computer{dir: dir, disk: vfstest.NewDisk(), options: options, seed: &seed{number: number}, chance: rand.New(rand.NewPCG(number, 0))}
	return c, vfs.MakeDirectory(c.disk, dir)
}

// start opens the database until the test is over.
func (c *computer) start(t testing.TB) (*db.DB, error) {
	t.Helper()
	options := c.options
	if !options.InMemory {
		door.Set(&options, fileSystem{vfs.OS, c.disk, c.dir}, nil)
	}
	d, err := db.Open(c.dir, &options)
	if err != nil {
		return nil, err
	}
	door.Sites(d)
	computers.Store(d, c)
	t.Cleanup(func() {
		t.Helper()
		stop(t, d)
		computers.Delete(d)
	})
	return d, nil
}

// fileSystem is the operating system's, but for one directory, which lies on a disk in memory.
type fileSystem struct {
	vfs.FS
	disk *vfstest.Disk
	dir  string
}

// OpenDirectory implements vfs.FS.
func (f fileSystem) OpenDirectory(dir string) (vfs.Directory, error) {
	if dir == f.dir {
		return f.disk.OpenDirectory(dir)
	}
	return f.FS.OpenDirectory(dir)
}

// SyncDir has nothing to do for directories of the operating system: no test takes its power.
func (fileSystem) SyncDir(string) error { return nil }
