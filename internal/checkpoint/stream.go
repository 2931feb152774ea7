package checkpoint

import (
	"encoding/binary"
	"fmt"
	"io"

	"lsmdb/internal/base"
	"lsmdb/manifest"
)

// How the stream begins; see docs/format-checkpoint.md.
const (
	streamMagic   = "lsmdbckp"
	streamVersion = 1
)

// out writes a stream.
type out struct {
	to        io.Writer
	count     int64
	all, part uint32 // checksums of all that was written, and of what began with part = 0
}

// Write implements io.Writer.
func (o *out) Write(p []byte) (n int, err error) {
	n, err = o.to.Write(p)
	o.count += int64(n)
	o.all, o.part = base.Checksum(o.all, p[:n]), base.Checksum(o.part, p[:n])
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// checksum ends something.
func (o *out) checksum(of uint32) error {
	_, err := o.Write(binary.LittleEndian.AppendUint32(nil, of))
	return err
}

// file writes one file, whose contents fill writes.
func (o *out) file(name string, sizeBytes int64, fill func() error) error {
	o.part = 0
	_, err := o.Write(binary.LittleEndian.AppendUint64(append([]byte{byte(len(name))}, name...), uint64(sizeBytes)))
	if err == nil {
		err = fill()
	}
	if err == nil {
		err = o.checksum(o.part)
	}
	return err
}

// WriteTo writes all files to w as one stream and returns its length. Every table is
// checked before it is written, so that no damage gets into a backup unnoticed.
func (f *Files) WriteTo(w io.Writer) (int64, error) {
	o := &out{to: w}
	_, err := o.Write(binary.LittleEndian.AppendUint32([]byte(streamMagic), streamVersion))
	if err == nil {
		err = o.checksum(o.all)
	}
	for _, t := range f.tables {
		if err == nil {
			err = o.table(t)
		}
	}
	text := f.current.Encode()
	if err == nil {
		err = o.file(base.ManifestName(f.current.Manifest), int64(len(f.manifest)), func() error { _, err := o.Write(f.manifest); return err })
	}
	if err == nil {
		err = o.file(base.CurrentName, int64(len(text)), func() error { _, err := o.Write(text); return err })
	}
	if err == nil {
		_, err = o.Write([]byte{0}) // no name: the end
	}
	if err == nil {
		err = o.checksum(o.all)
	}
	return o.count, err
}

// table writes a table, which it has read from end to end before.
func (o *out) table(t *manifest.TableMeta) error {
	table, err := t.Handle.Table()
	if err == nil {
		err = table.Verify(nil)
	}
	if err != nil {
		return fmt.Errorf("table %d: %w", t.Number, err)
	}
	return o.file(base.TableName(t.Number), t.SizeBytes, func() error {
		return read(t, func(p []byte, _ int64) (int, error) { return o.Write(p) })
	})
}
