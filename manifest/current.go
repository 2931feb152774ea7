package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
)

// Current is what the file CURRENT says: which MANIFEST counts and, after a clean
// close, where it and the last WAL segment end. The mark is taken back, by writing
// CURRENT without it, before the first write of the next process.
//
// The file is text, one canonical form for each value:
//
//	lsmdb-current 1
//	manifest 12
//	clean 4242 14 8192
//	checksum 1a2b3c4d
//
// The line "clean" may be missing. The last line holds the CRC-32C of everything
// before it; so a file cut short anywhere, or changed, is noticed.
type Current struct {
	Manifest uint64
	Clean    *CleanMark // nil: not closed cleanly
}

// CleanMark tells what a clean close left behind.
type CleanMark struct {
	ManifestEnd int64  // size of the MANIFEST, its end mark included
	WAL         uint64 // the last WAL segment; 0: none was left
	WALEnd      int64  // size of that segment, its end mark included
}

const (
	currentVersion    = 1
	currentLimitBytes = 4096 // every version of CURRENT is shorter
	currentTitle      = "lsmdb-current "
	checksumTitle     = "checksum "
	checksumLineBytes = len(checksumTitle) + 8 + 1
)

// ReadCurrent reads CURRENT in dir. fs.ErrNotExist passes through; anything but a
// whole, unchanged file is a *base.CorruptionError; a newer version is
// base.ErrIncompatible.
func ReadCurrent(fs vfs.Files, dir string) (Current, error) {
	path := filepath.Join(dir, base.CurrentName)
	file, err := fs.Open(path)
	if err != nil {
		return Current{}, fmt.Errorf("open CURRENT: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.NewSectionReader(file, 0, currentLimitBytes)) // what is cut off does not verify
	if err != nil {
		return Current{}, fmt.Errorf("read %s: %w", path, err)
	}
	c, err := DecodeCurrent(text)
	if err != nil {
		return Current{}, base.DamageAt(path, 0, err)
	}
	return c, nil
}

// WriteCurrent replaces CURRENT in dir, durably: after a failure or a crash it
// holds either what it held or c. Once it returns nil it holds c. After
// a *base.ShortageError it certainly holds what it held.
func WriteCurrent(fsys vfs.Files, dir string, c Current) error {
	text := c.Encode()
	if _, err := DecodeCurrent(text); err != nil {
		panic(fmt.Sprintf("invariant: CURRENT cannot hold %q: %v", text, err))
	}
	path := filepath.Join(dir, base.CurrentName)
	temporary := path + ".tmp"
	gone := fsys.Remove(temporary) // an interrupted attempt may have left it
	err := vfs.WriteFile(fsys, temporary, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if errors.Is(err, fs.ErrExist) {
		err = cmp.Or(gone, err)
	}
	if err != nil {
		_ = fsys.Remove(temporary) // best effort: the next call and the next open remove it too
		return fmt.Errorf("write %s: %w", temporary, vfs.Shortage(err))
	}
	if err := fsys.Rename(temporary, path); err != nil {
		if _, gone := fsys.Stat(temporary); gone == nil {
			err = vfs.Shortage(err) // it still has its name: nothing was switched
		}
		_ = fsys.Remove(temporary)
		return fmt.Errorf("switch CURRENT: %w", err)
	}
	if err := fsys.SyncDir(dir); err != nil {
		return fmt.Errorf("switch CURRENT: %w", err)
	}
	return nil
}

// Encode returns the text of the file.
func (c Current) Encode() []byte {
	text := fmt.Appendf(nil, "%s%d\nmanifest %d\n", currentTitle, currentVersion, c.Manifest)
	if m := c.Clean; m != nil {
		text = fmt.Appendf(text, "clean %d %d %d\n", m.ManifestEnd, m.WAL, m.WALEnd)
	}
	return appendChecksumLine(text)
}

func appendChecksumLine(text []byte) []byte {
	return fmt.Appendf(text, "%s%08x\n", checksumTitle, base.Checksum(0, text))
}

// DecodeCurrent reads the text of the file. It checks the checksum before anything else, so that damage never
// passes for another version. Then only the exact text that Encode gives counts.
func DecodeCurrent(text []byte) (Current, error) {
	covered := text[:max(0, len(text)-checksumLineBytes)]
	if !bytes.Equal(appendChecksumLine(bytes.Clone(covered)), text) {
		return Current{}, errors.New("the checksum line is missing or does not fit")
	}
	var c Current
	var version uint32
	var mark CleanMark
	found, _ := fmt.Sscanf(string(covered), currentTitle+"%d\nmanifest %d\nclean %d %d %d\n",
		&version, &c.Manifest, &mark.ManifestEnd, &mark.WAL, &mark.WALEnd)
	switch {
	case found == 0:
		return Current{}, fmt.Errorf("first line of %q", covered)
	case version > currentVersion:
		return Current{}, fmt.Errorf("%w: version %d of CURRENT, newest known is %d", base.ErrIncompatible, version, currentVersion)
	case found == 5:
		c.Clean = &mark
	}
	if !bytes.Equal(c.Encode(), text) { // more, less or something else was there
		return Current{}, fmt.Errorf("not the text of a CURRENT: %q", covered)
	}
	return c, c.check()
}

// check says what is impossible about the numbers.
func (c Current) check() error {
	if err := checkFileNumber(c.Manifest); err != nil {
		return fmt.Errorf("MANIFEST: %w", err)
	}
	if m := c.Clean; m != nil && (m.ManifestEnd <= 0 || m.WALEnd < 0 || m.WAL >= MaxFileNumber || (m.WAL == 0) != (m.WALEnd == 0)) {
		return fmt.Errorf("clean mark with MANIFEST end %d, WAL %d and its end %d", m.ManifestEnd, m.WAL, m.WALEnd)
	}
	return nil
}
