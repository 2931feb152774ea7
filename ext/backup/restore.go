package backup

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"gocloud.dev/blob"

	"lsmdb/internal/base"
	"lsmdb/internal/checkpoint"
	"lsmdb/internal/recovery"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/wal"
)

// Restore makes a database in dir as of a point. dir must not exist or be empty, or hold what a
// Restore left that was killed; missing parents are made. Sequence numbers, merge operands,
// expiries and range deletes are what they were. The identity is a new one, so the database
// does not back up into its parent's bucket.
//
// All is compared with its checksums and verified as db.Verify does before CURRENT, which makes
// it a database, is written. After an error dir is empty; if the process is killed, what is
// there is no database, and another Restore begins anew.
//
// Errors: ErrNotReached, ErrDamaged for an object that is wrong or missing, fs.ErrExist if dir
// is not empty, and those of the bucket and of the file system.
func Restore(ctx context.Context, bucket *blob.Bucket, dir string, at Point) (*Report, error) {
	return restoreOn(ctx, vfs.OS, store{bucket}, dir, at)
}

func restoreOn(ctx context.Context, fsys vfs.FS, s store, dir string, at Point) (*Report, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	t, err := v.find(ctx, at)
	if err != nil {
		return nil, err
	}
	if fsys == vfs.OS {
		if dir, err = filepath.Abs(dir); err != nil {
			return nil, err
		}
	}
	if err := clearLeft(fsys, dir); err != nil {
		return nil, fmt.Errorf("lsmdb: backup: restore to %s: %w", dir, err)
	}
	d, err := checkpoint.NewDirectory(fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("lsmdb: backup: restore to %s: %w", dir, err)
	}
	r := &restoring{Directory: d, target: t, view: v, dir: dir, state: t.state}
	err = errors.New("it has panicked") // if nothing else is said
	defer func() { _ = d.End(err) }()
	if err = r.all(ctx); err != nil {
		r.discard()
		return nil, fmt.Errorf("lsmdb: backup: restore to %s: %w", dir, vfs.Shortage(err))
	}
	return &r.report, nil
}

// restoringName is the file that says that a directory is no database yet.
const restoringName = "RESTORING"

// clearLeft removes what a Restore left that was killed. Whatever else is in dir stays.
func clearLeft(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(names) == 0 {
		return nil
	}
	ours := slices.Contains(names, restoringName) || len(names) == 1
	for _, name := range names {
		kind, _ := base.ParseFileName(name)
		if name != restoringName && kind == base.FileOther || kind == base.FileCurrent {
			ours = false
		}
		if len(names) == 1 && name != restoringName && kind != base.FileLock {
			ours = false
		}
	}
	if err != nil || !ours {
		return err // NewDirectory says what is in the way
	}
	d, err := fsys.OpenDirectory(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Lock(false); err != nil {
		return err
	}
	for _, name := range names {
		if name != restoringName && name != base.LockName {
			if err := d.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{restoringName, base.LockName} { // last, since nobody would remove the others without them
		if err := d.SyncDir(dir); err != nil {
			return err
		}
		if err := d.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return d.SyncDir(dir)
}

// restoring is a Restore under way.
type restoring struct {
	*checkpoint.Directory
	*target
	view   *view
	dir    string
	state  manifest.State
	report Report

	number uint64 // of the next file
}

// all makes the files, verifies them, and makes them a database.
func (r *restoring) all(ctx context.Context) error {
	if err := r.write(restoringName, func(io.Writer) error { return nil }); err != nil {
		return err
	}
	if err := r.SyncDir(r.dir); err != nil {
		return err
	}
	r.report = Report{Seq: r.Seq, Time: r.Time, Point: r.name}
	for _, t := range r.Tables {
		r.report.TableBytes += t.SizeBytes
	}
	for _, t := range r.Tables {
		if err := r.table(ctx, t); err != nil {
			return err
		}
	}
	r.number = r.ManifestNumber + 1
	if err := r.replayed(ctx); err != nil {
		return err
	}
	current, err := r.manifest()
	if err != nil {
		return err
	}
	if err := r.verify(ctx, current); err != nil {
		return err
	}
	if err := r.Commit(current); err != nil {
		return err
	}
	return r.committed()
}

// discard removes all but the mark, durably: as long as anything is there, so is the mark.
func (r *restoring) discard() {
	for _, name := range slices.Backward(r.Made) { // CURRENT first
		if name != restoringName {
			_ = vfs.RemoveInSteps(r.Directory, filepath.Join(r.dir, name), nil)
		}
	}
	_ = r.SyncDir(r.dir)
	r.Made = []string{restoringName}
}

// committed removes the mark: what is there is a database with or without it.
func (r *restoring) committed() error {
	r.Made = slices.DeleteFunc(r.Made, func(name string) bool { return name == restoringName })
	_ = r.Remove(filepath.Join(r.dir, restoringName))
	return nil
}

// write makes a file, durable but for its entry.
func (r *restoring) write(name string, fill func(io.Writer) error) error {
	r.Made = append(r.Made, name)
	return vfs.WriteFile(r.Directory, filepath.Join(r.dir, name), fill)
}

// table fetches a table.
func (r *restoring) table(ctx context.Context, t tableObject) error {
	object, err := r.view.store.open(ctx, t.Object)
	if err != nil {
		return err
	}
	defer object.Close()
	err = r.write(base.TableName(t.Number), func(w io.Writer) error {
		h := sha256.New()
		counted := &counted{ctx, "fetch", r.fetched(), r.report.TableBytes}
		n, err := io.Copy(io.MultiWriter(w, h, counted), object)
		switch sum := hex.EncodeToString(h.Sum(nil)); {
		case err != nil:
			return fmt.Errorf("%s: %w", t.Object, err)
		case n != t.SizeBytes || sum != t.SHA256:
			return damaged(t.Object, "its %d bytes are not the %d that %s tells of", n, t.SizeBytes, r.name)
		}
		return nil
	})
	if err == nil {
		r.report.Tables++
	}
	return err
}

// fetched returns how many bytes of tables there are.
func (r *restoring) fetched() (bytes int64) {
	for _, t := range r.Tables[:r.report.Tables] {
		bytes += t.SizeBytes
	}
	return bytes
}

// counted tells how many bytes have come.
type counted struct {
	ctx         context.Context
	step        string
	done, total int64
}

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	c.done += int64(len(p))
	tell(c.ctx, c.step, c.done, c.total)
	return len(p), c.ctx.Err()
}

// replayed writes the log behind the point as a segment of the database's own log, where there
// is any. So whoever opens the database replays it as it would its own: each operation with its
// number, operands without the operator that merges them.
func (r *restoring) replayed(ctx context.Context) error {
	var log *wal.Writer
	pieces, err := r.view.replay(ctx, r.target, func(f frame) (err error) {
		if log == nil {
			name := base.WALName(r.number)
			r.Made = append(r.Made, name)
			if log, err = wal.Create(r.Directory, filepath.Join(r.dir, name), r.number, wal.Previous{}); err != nil {
				return err
			}
		}
		r.report.Seq, r.report.Time = f.last, moment(f.time)
		r.report.Operations += f.last - f.first + 1
		tell(ctx, "replay", int64(f.last-r.Seq), int64(r.until-r.Seq))
		return cmp.Or(ctx.Err(), log.Append(f.record))
	})
	r.report.Objects = pieces
	if log == nil {
		return err
	}
	if err != nil {
		return errors.Join(err, log.Close())
	}
	r.state.OldestWAL = r.number
	r.number++
	_, err = log.Finish()
	return err
}

// manifest writes the MANIFEST, which gives the database an identity of its own.
func (r *restoring) manifest() (manifest.Current, error) {
	var drawn [8]byte
	rand.Read(drawn[:])
	r.state.DatabaseID = binary.LittleEndian.Uint64(drawn[:]) | 1
	number := r.number
	r.state.NextFile = number + 1
	r.Made = append(r.Made, base.ManifestName(number))
	log, err := manifest.CreateLog(r.Directory, r.dir, number, r.state)
	if err != nil {
		return manifest.Current{}, err
	}
	return manifest.Current{Manifest: number}, log.Close()
}

// verify reads all files again and checks everything in them.
func (r *restoring) verify(ctx context.Context, current manifest.Current) error {
	var problem error
	found := 0
	err := recovery.VerifyWithout(ctx, r.Directory, r.dir, current, recovery.Observer{
		File:     func(string, string, int64, uint64, *manifest.TableMeta) { found++ },
		Progress: func(_ string, doneBytes, totalBytes int64) { tell(ctx, "verify", doneBytes, totalBytes) },
		Problem: func(name string, offset int64, detail string, _ bool) {
			problem = cmp.Or(problem, base.Corruptf(filepath.Join(r.dir, name), offset, "%s", detail))
		},
	})
	if err == nil && problem == nil && found != len(r.Made)-1 { // all but the mark
		problem = base.Corruptf(r.dir, -1, "%d files were restored, but the MANIFEST leads to %d", len(r.Made)-1, found)
	}
	return cmp.Or(err, problem)
}
