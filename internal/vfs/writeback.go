package vfs

// WritebackFile is what some systems' files offer to whoever writes much before the next
// Sync. Otherwise all of it would be left for that, and on a slow disk whoever needs the
// disk meanwhile waits for all of it, too.
type WritebackFile interface {
	// StartWriteback lets the system begin to write a part of the file to the disk. It
	// promises nothing.
	StartWriteback(offset, length int64)
	// AwaitWriteback waits until what was begun in a part of the file is written. An error
	// counts like one of Sync, which may not tell it again.
	AwaitWriteback(offset, length int64) error
}

// Writeback has a file that is written from one end to the other go to the disk on the
// way. One goroutine at a time uses it. The zero value does nothing.
type Writeback struct {
	file       WritebackFile
	aheadBytes int64 // so much may be on its way
	begun      int64 // up to here it was begun
	awaited    int64 // and up to here it has ended
}

// writebackBytes is the step in which the disk is given its work: large enough for it to
// work at full speed.
const writebackBytes = 1 << 20

// NewWriteback returns one that waits where more than aheadBytes are on their way to the
// disk; for a file of a system that offers nothing, one that does nothing.
func NewWriteback(f File, aheadBytes int64) Writeback {
	file, _ := f.(WritebackFile)
	return Writeback{file: file, aheadBytes: aheadBytes}
}

// Wrote is told that the file is written up to end. After an error the file is to be
// treated as after a Sync that failed.
func (w *Writeback) Wrote(end int64) error {
	if end -= end % writebackBytes; w.file == nil || end <= w.begun {
		return nil
	}
	w.file.StartWriteback(w.begun, end-w.begun)
	w.begun = end
	if ended := end - w.aheadBytes; ended > w.awaited {
		if err := w.file.AwaitWriteback(w.awaited, ended-w.awaited); err != nil {
			return err
		}
		w.awaited = ended
	}
	return nil
}
