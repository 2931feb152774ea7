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

// How the stream begins; see docs/format-checkpoint.md.
const (
	streamMagic   = "lsmdbckp"
	streamVersion = 1
)

// out writes a stream, unless something has failed.
type out struct {
	to        io.Writer
	count     int64
	all, part uint32 // checksums of all that was written, and of what began with part = 0
	err       error  // the first
}

// Write implements io.Writer.
func (o *out) Write(p []byte) (n int, err error) {
	if o.err != nil {
		return 0, o.err
	}
	n, o.err = o.to.Write(p)
	o.count += int64(n)
	o.all, o.part = base.Checksum(o.all, p[:n]), base.Checksum(o.part, p[:n])
	if o.err == nil && n < len(p) {
		o.err = io.ErrShortWrite
	}
	return n, o.err
}

// checksum ends something.
func (o *out) checksum(of uint32) { o.Write(binary.LittleEndian.AppendUint32(nil, of)) }

// file writes one file.
func (o *out) file(f file) error {
	o.part = 0
	o.Write(binary.LittleEndian.AppendUint64(append([]byte{byte(len(f.name))}, f.name...), uint64(f.sizeBytes)))
	if err := f.copyTo(context.Background(), o); err != nil { // whoever reads the stream ends it
		return err
	}
	o.checksum(o.part)
	return o.err
}

// WriteTo writes all files to w as one stream and returns its length. Every table is read
// from end to end and checked before it is written, so that no damage gets into a backup
// unnoticed.
func (f *Files) WriteTo(w io.Writer) (int64, error) {
	o := &out{to: w}
	o.Write(binary.LittleEndian.AppendUint32([]byte(streamMagic), streamVersion))
	o.checksum(o.all)
	for _, file := range f.list {
		err := file.verify()
		if err == nil {
			err = o.file(file)
		}
		if err != nil {
			return o.count, err
		}
	}
	o.Write([]byte{0}) // no name: the end
	o.checksum(o.all)
	return o.count, o.err
}

// verify checks a table.
func (f file) verify() error {
	if f.table == nil {
		return nil
	}
	table, err := f.table.Handle.Table()
	if err == nil {
		err = table.Verify(nil)
	}
	if err != nil {
		return fmt.Errorf("table %d: %w", f.table.Number, err)
	}
	return nil
}

// Restore makes the database of a stream in dir, which must be absent or empty. After an
// error it is absent or empty again. It is a database from the moment on when all of the
// stream was read, checked, made durable, and verified as db.Verify does. An end of ctx is
// seen between two reads.
func Restore(ctx context.Context, r io.Reader, fsys vfs.FS, dir string) (err error) {
	d, err := NewDirectory(fsys, dir)
	if err != nil {
		return err
	}
	err = errors.New("the reader has panicked") // if files does not return
	defer func() { err = d.End(err) }()
	current, err := (&in{ctx: ctx, from: r}).files(d)
	if err == nil {
		err = verify(ctx, d, current)
	}
	if err == nil {
		err = d.Commit(current)
	}
	return err
}

const streamName = "stream of a checkpoint" // in errors

// in reads a stream, unless something has failed.
type in struct {
	ctx       context.Context
	from      io.Reader
	count     int64
	all, part uint32 // checksums, as in out
	err       error  // the first
}

// refuse says what is wrong with the stream where it was read to, unless it is known that
// something is.
func (in *in) refuse(format string, args ...any) {
	in.err = cmp.Or(in.err, base.Corruptf(streamName, in.count, format, args...))
}

// Read implements io.Reader. It fills p.
func (in *in) Read(p []byte) (n int, err error) {
	if in.err = cmp.Or(in.err, in.ctx.Err()); in.err != nil {
		return 0, in.err
	}
	n, err = io.ReadFull(in.from, p)
	in.count += int64(n)
	in.all, in.part = base.Checksum(in.all, p[:n]), base.Checksum(in.part, p[:n])
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		in.refuse("it ends here, and is not complete")
	}
	in.err = cmp.Or(in.err, err)
	return n, in.err
}

// take returns the next bytes, zeros after an error.
func (in *in) take(n int) []byte {
	p := make([]byte, n)
	if _, err := in.Read(p); err != nil {
		clear(p)
	}
	return p
}

// checksum reads a checksum and compares it.
func (in *in) checksum(want uint32) {
	if binary.LittleEndian.Uint32(in.take(4)) != want {
		in.refuse("the checksum of what lies before does not fit")
	}
}

// files reads the whole stream and writes all files but CURRENT, which it returns.
func (in *in) files(d *Directory) (current manifest.Current, err error) {
	head := in.take(len(streamMagic) + 4)
	if string(head[:len(streamMagic)]) != streamMagic {
		in.refuse("it does not begin as a checkpoint does")
	}
	version := binary.LittleEndian.Uint32(head[len(streamMagic):])
	in.checksum(in.all)
	if in.err == nil && version != streamVersion {
		in.err = fmt.Errorf("%w: version %d of a checkpoint's stream, known is %d", base.ErrIncompatible, version, streamVersion)
	}
	var text bytes.Buffer // of CURRENT
	for in.file(d, &text) {
	}
	in.checksum(in.all)
	if in.err != nil {
		return current, in.err
	}
	if n, err := io.ReadFull(in.from, make([]byte, 1)); n > 0 {
		in.refuse("something follows the end")
		return current, in.err
	} else if !errors.Is(err, io.EOF) {
		return current, err
	}
	if current, err = manifest.DecodeCurrent(text.Bytes()); err != nil {
		err = base.DamageAt(streamName, in.count, err)
	}
	return current, err
}

// file reads one file and writes it, CURRENT to text. It returns false for the end.
func (in *in) file(d *Directory, text *bytes.Buffer) (more bool) {
	in.part = 0
	length := int(in.take(1)[0])
	if length == 0 {
		return false
	}
	head := in.take(length + 8)
	name, size := string(head[:length]), int64(binary.LittleEndian.Uint64(head[length:]))
	contents := func(w io.Writer) error {
		err := transfer(in.ctx, w, io.LimitReader(in, size))
		in.checksum(in.part)
		return cmp.Or(err, in.err)
	}
	kind, _ := base.ParseFileName(name)
	switch {
	case in.err != nil:
	case kind == base.FileCurrent && size <= chunkBytes:
		in.err = contents(text)
	case kind == base.FileTable || kind == base.FileManifest:
		in.err = d.write(name, contents)
	default:
		in.refuse("%q is no file of a checkpoint", name)
	}
	return in.err == nil
}

// verify refuses what is damaged although it came as it was sent, and what no MANIFEST
// lists.
func verify(ctx context.Context, d *Directory, current manifest.Current) error {
	var problem error
	found := 0
	err := recovery.VerifyWithout(ctx, d, d.dir, current, recovery.Observer{
		File:     func(string, string, int64, uint64, *manifest.TableMeta) { found++ },
		Progress: func(string, int64, int64) {},
		Problem: func(name string, offset int64, detail string, _ bool) {
			problem = cmp.Or(problem, base.Corruptf(filepath.Join(d.dir, name), offset, "%s", detail))
		},
	})
	if err == nil && problem == nil && found != len(d.Made) {
		problem = base.Corruptf(d.dir, -1, "%d files were restored, but the MANIFEST leads to %d", len(d.Made), found)
	}
	return cmp.Or(err, problem)
}
