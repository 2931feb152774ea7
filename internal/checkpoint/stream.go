package checkpoint

import (
	"encoding/binary"
	"fmt"
	"io"

	"lsmdb/internal/base"
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
	if err := f.copyTo(o); err != nil {
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
