package checkpoint

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"lsmdb/internal/base"
	"lsmdb/internal/recovery"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// Restore makes the database of a stream in dir, which must be absent or empty. After an
// error it is absent or empty again. It is a database from the moment on when all of the
// stream was read, checked, made durable, and verified as db.Verify does. An end of ctx is
// seen between two reads.
func Restore(ctx context.Context, r io.Reader, fsys vfs.FS, dir string) (err error) {
	d, err := newDirectory(fsys, dir)
	if err != nil {
		return err
	}
	ended := errors.New("the reader has panicked")
	defer func() { err = d.end(cmp.Or(ended, err)) }()
	in := &in{ctx: ctx, from: r}
	current, err := in.files(d)
	if err == nil {
		err = verify(ctx, d, current)
	}
	if err == nil {
		err = d.commit(current)
	}
	ended = nil
	return err
}

const streamName = "stream of a checkpoint" // in errors

// in reads a stream.
type in struct {
	ctx       context.Context
	from      io.Reader
	count     int64
	all, part uint32 // checksums, as in out
}

// damage says what is wrong with the stream where it was read to.
func (in *in) damage(format string, args ...any) error {
	return base.Corruptf(streamName, in.count, format, args...)
}

// read fills p.
func (in *in) read(p []byte) error {
	if err := in.ctx.Err(); err != nil {
		return err
	}
	n, err := io.ReadFull(in.from, p)
	in.count += int64(n)
	in.all, in.part = base.Checksum(in.all, p[:n]), base.Checksum(in.part, p[:n])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = in.damage("it ends here, and is not complete")
	}
	return err
}

// checksum reads a checksum and compares it.
func (in *in) checksum(want uint32) error {
	var stored [4]byte
	err := in.read(stored[:])
	if err == nil && binary.LittleEndian.Uint32(stored[:]) != want {
		err = in.damage("the checksum of what lies before does not fit")
	}
	return err
}

// files reads the whole stream and writes all files but CURRENT, which it returns.
func (in *in) files(d *directory) (current manifest.Current, err error) {
	var head [len(streamMagic) + 4]byte
	if err = in.read(head[:]); err == nil && string(head[:len(streamMagic)]) != streamMagic {
		err = in.damage("it does not begin as a checkpoint does")
	}
	if err == nil {
		err = in.checksum(in.all)
	}
	if version := binary.LittleEndian.Uint32(head[len(streamMagic):]); err == nil && version != streamVersion {
		err = fmt.Errorf("%w: version %d of a checkpoint's stream, known is %d", base.ErrIncompatible, version, streamVersion)
	}
	var text bytes.Buffer // of CURRENT
	for more := true; err == nil && more; {
		more, err = in.file(d, &text)
	}
	if err == nil {
		err = in.checksum(in.all)
	}
	if err != nil {
		return current, err
	}
	if n, err := io.ReadFull(in.from, head[:1]); n > 0 {
		return current, in.damage("something follows the end")
	} else if !errors.Is(err, io.EOF) {
		return current, err
	}
	if current, err = manifest.DecodeCurrent(text.Bytes()); err != nil {
		err = base.DamageAt(streamName, in.count, err)
	}
	return current, err
}

// file reads one file and writes it, CURRENT to text. It returns false for the end.
func (in *in) file(d *directory, text *bytes.Buffer) (more bool, err error) {
	in.part = 0
	var length [1]byte
	if err := in.read(length[:]); err != nil || length[0] == 0 {
		return false, err
	}
	head := make([]byte, int(length[0])+8)
	if err := in.read(head); err != nil {
		return false, err
	}
	name, size := string(head[:length[0]]), int64(binary.LittleEndian.Uint64(head[length[0]:]))
	kind, _ := base.ParseFileName(name)
	switch {
	case kind == base.FileCurrent && size <= chunkBytes:
		return true, in.contents(size, func(p []byte, _ int64) (int, error) { return text.Write(p) })
	case kind == base.FileTable || kind == base.FileManifest:
		return true, d.write(name, func(file vfs.File) error { return in.contents(size, file.WriteAt) })
	}
	return false, in.damage("%q is no file of a checkpoint", name)
}

// contents reads those of one file, and checks it.
func (in *in) contents(size int64, writeAt func(p []byte, offset int64) (int, error)) error {
	buffer := make([]byte, max(0, min(chunkBytes, size)))
	for offset := int64(0); offset < size; offset += int64(len(buffer)) {
		buffer = buffer[:min(chunkBytes, size-offset)]
		err := in.read(buffer)
		if err == nil {
			_, err = writeAt(buffer, offset)
		}
		if err != nil {
			return err
		}
	}
	return in.checksum(in.part)
}

// verify refuses what is damaged although it came as it was sent, and what no MANIFEST
// lists.
func verify(ctx context.Context, d *directory, current manifest.Current) error {
	var problem error
	found := 0
	err := recovery.VerifyWithout(ctx, d, d.dir, current, recovery.Observer{
		File:     func(string, string, int64, uint64, *manifest.TableMeta) { found++ },
		Progress: func(string, int64, int64) {},
		Problem: func(name string, offset int64, detail string, _ bool) {
			problem = cmp.Or(problem, base.Corruptf(filepath.Join(d.dir, name), offset, "%s", detail))
		},
	})
	if err == nil && problem == nil && found != len(d.made) {
		problem = base.Corruptf(d.dir, -1, "%d files were restored, but the MANIFEST leads to %d", len(d.made), found)
	}
	return cmp.Or(err, problem)
}
