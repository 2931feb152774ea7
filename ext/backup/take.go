package backup

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"

	"lsmdb/db"
	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
	"lsmdb/sstable"
)

// Once takes a point: it uploads the tables that the bucket lacks, each checked before, and
// then says that the point is there. On a database that has not changed since its last point
// nothing is uploaded. It may be called beside a Run of the same database.
//
// Of each table that this process has not backed up yet, the bytes are read and compared with
// what the bucket says, whether or not it has the table.
//
// Errors: those of db.NewCheckpoint, ErrForeign, ErrDamaged where the bucket has lost what it
// had taken, a *db.CorruptionError for a damaged table, and those of the bucket. After an
// error there is no new point; what was uploaded is used by the next attempt.
func Once(ctx context.Context, d *db.DB, bucket *blob.Bucket, o *Options) (*Report, error) {
	return once(ctx, local{d}, store{bucket}, o.resolved())
}

func once(ctx context.Context, from source, s store, o Options) (*Report, error) {
	if err := from.memory().take(ctx); err != nil {
		return nil, err
	}
	defer from.memory().giveBack()
	t, err := begin(ctx, from, s, "", func() int64 { return time.Now().UnixNano() })
	if err != nil {
		return nil, err
	}
	defer t.Close()
	t.belong(0, from.memory().farthest().base)
	if err := t.finish(ctx); err != nil {
		return nil, err
	}
	o.Logger.Info().Uint64("sequence", t.report.Seq).Str("point", t.report.Point).Int("uploaded", t.report.Uploaded).
		Int64("uploaded_bytes", t.report.UploadedBytes).Bool("new", !t.reused).Msg("point taken")
	return &t.report, nil
}

// taking is a point that is being taken. Its name is known from the beginning.
type taking struct {
	copied
	store  store
	memory *memory
	point  *point // but for the tables
	newest *point // in the bucket; nil: there is none
	reused bool   // the very state is in the bucket, as it seems: point is what is there
	sure   bool   // and not only seems: with all tables

	report Report
}

// begin makes a checkpoint and decides how the point is named. now is asked for its time. The
// log from the point base must lead through it; "": any will do.
func begin(ctx context.Context, from source, s store, base string, now func() int64) (t *taking, err error) {
	newest, err := s.newestPoint(ctx) // before the checkpoint, which is no older then
	if err != nil {
		return nil, err
	}
	c, err := from.checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	// Later than all that is in it: whoever asks for the time before must not get it.
	p := &point{Format: pointFormat, Seq: c.Seq(), Time: moment(now())}
	t = &taking{copied: c, store: s, memory: from.memory(), point: p, newest: newest}
	defer func() {
		if err != nil {
			_ = c.Close()
		}
	}()
	if err = t.describe(); err != nil {
		return nil, err
	}
	if newest != nil && (newest.Database != t.point.Database || newest.Seq > t.point.Seq) {
		return nil, fmt.Errorf("%w: %s is of database %s at sequence number %d, this is %s at %d", ErrForeign,
			newest.name, newest.Database, newest.Seq, t.point.Database, t.point.Seq)
	}
	if err = t.name(ctx, base); err != nil {
		return nil, err
	}
	return t, nil
}

// belong makes the point one to which, and from which, the log leads that begins with the point
// base; "": none does.
func (t *taking) belong(epoch uint64, base string) {
	if !t.reused { // what is there is never changed
		t.point.Epoch, t.point.Base = epoch, base
	}
}

// describe reads the MANIFEST of the checkpoint.
func (t *taking) describe() error {
	for f := range t.Files() {
		kind, number := base.ParseFileName(f.Name)
		if kind != base.FileManifest {
			continue
		}
		r, err := t.Open(f.Name)
		if err == nil {
			t.point.Manifest, err = io.ReadAll(r)
		}
		if err == nil {
			t.point.ManifestNumber = number
			t.point.state, err = decodeManifest(number, t.point.Manifest)
		}
		t.point.Database = databaseName(t.point.state)
		return err
	}
	return fmt.Errorf("invariant: a checkpoint without a MANIFEST")
}

// name names the point, or finds that its state is in the bucket already, and on the log from
// base.
func (t *taking) name(ctx context.Context, base string) error {
	there, err := t.store.list(ctx, pointName(t.point.Seq, "")[:len(pointsPrefix)+20])
	if err != nil || len(there) == 0 {
		t.point.name = pointName(t.point.Seq, "")
		return err
	}
	present, err := t.present(ctx)
	if err != nil {
		return err
	}
	suffix := ""
	for _, o := range there {
		if _, ok := parsePointName(o.name); !ok {
			continue
		}
		if o.name == pointName(t.point.Seq, "") {
			var drawn [4]byte
			rand.Read(drawn[:])
			suffix = hex.EncodeToString(drawn[:])
		}
		known, err := t.store.readPoint(ctx, o.name)
		if err != nil {
			return err
		}
		// Between two writes, compactions may have made other tables of the same state. That
		// it is the same is certain where this process wrote the point from this database.
		sure := t.memory.last == written{known.Seq, sha256.Sum256(known.encode())} && known.complete(present) == nil
		if base != "" && known.name != base && known.Base != base {
			continue
		}
		if sure || sameTree(known.state, t.point.state) {
			t.point, t.reused, t.sure = known, true, sure
			return nil
		}
	}
	t.point.name = pointName(t.point.Seq, suffix)
	return nil
}

// finish uploads what is missing, and then the point.
func (t *taking) finish(ctx context.Context) error {
	t.report.Seq, t.report.Time, t.report.Point = t.point.Seq, t.point.Time, t.point.name
	present, err := t.present(ctx)
	if err != nil || t.reused && t.sure {
		return cmp.Or(err, t.confirm(present))
	}
	metas := tablesOf(t.point.state)
	tables, sums := make([]tableObject, 0, len(metas)), make(map[uint64][sha256.Size]byte, len(metas))
	total, done := int64(0), int64(0)
	for _, m := range metas {
		total += m.SizeBytes
	}
	for _, m := range metas {
		tell(ctx, "upload", done, total)
		sum, err := t.sum(ctx, m)
		if err == nil {
			err = t.agrees(m, tableName(m.Identity, sum))
		}
		if err == nil {
			err = t.table(ctx, m, sum, present)
		}
		if err != nil {
			return err
		}
		tables = append(tables, tableObject{tableName(m.Identity, sum), m.Number, m.SizeBytes, hex.EncodeToString(sum[:])})
		sums[m.Identity] = sum
		done += m.SizeBytes
	}
	tell(ctx, "upload", total, total)
	t.memory.sums = sums // of others nothing need be known any more
	t.report.Tables, t.report.TableBytes = len(metas), total
	if t.report.Uploaded > 0 { // was everything kept that was taken?
		if present, err = t.present(ctx); err != nil {
			return err
		}
	}
	return t.write(ctx, tables, present)
}

// agrees finds that two histories have parted: their tables have the same numbers and other
// bytes.
func (t *taking) agrees(m *manifest.TableMeta, object string) error {
	if t.newest == nil {
		return nil
	}
	identity, _, _ := strings.Cut(object, "-")
	for _, known := range t.newest.Tables {
		if strings.HasPrefix(known.Object, identity) && known.Object != object {
			return fmt.Errorf("%w: table %d of %s has other bytes here", ErrForeign, m.Number, t.newest.name)
		}
	}
	return nil
}

// write writes the point, when all tables are there.
func (t *taking) write(ctx context.Context, tables []tableObject, present map[string]int64) error {
	if t.reused {
		if !slices.Equal(t.point.Tables, tables) {
			return fmt.Errorf("%w: tables of %s have other bytes here", ErrForeign, t.point.name)
		}
		return t.confirm(present)
	}
	t.point.Tables = tables
	if err := t.point.complete(present); err != nil {
		return err
	}
	encoded := t.point.encode()
	if err := t.store.put(ctx, t.point.name, encoded); err != nil {
		return err
	}
	t.memory.last = written{t.point.Seq, sha256.Sum256(encoded)}
	return nil
}

// confirm ends the taking of a point that is there.
func (t *taking) confirm(present map[string]int64) error {
	t.report.Tables, t.report.TableBytes = len(t.point.Tables), 0
	for _, o := range t.point.Tables {
		t.report.TableBytes += o.SizeBytes
	}
	if err := t.point.complete(present); err != nil {
		return err
	}
	t.memory.last = written{t.point.Seq, sha256.Sum256(t.point.encode())}
	return nil
}

// present returns the sizes of the tables in the bucket.
func (t *taking) present(ctx context.Context) (map[string]int64, error) {
	objects, err := t.store.list(ctx, tablesPrefix)
	sizes := make(map[string]int64, len(objects))
	for _, o := range objects {
		sizes[o.name] = o.sizeBytes
	}
	return sizes, err
}

// sum returns the checksum of a table.
func (t *taking) sum(ctx context.Context, m *manifest.TableMeta) (sum [sha256.Size]byte, err error) {
	if sum, known := t.memory.sums[m.Identity]; known {
		return sum, nil
	}
	h := sha256.New()
	if err = t.copyTable(ctx, h, m); err == nil {
		h.Sum(sum[:0])
	}
	return sum, err
}

// copyTable writes the bytes of a table to w.
func (t *taking) copyTable(ctx context.Context, w io.Writer, m *manifest.TableMeta) error {
	r, err := t.Open(base.TableName(m.Number))
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(w, struct{ io.Reader }{canceled{ctx, r}}, make([]byte, 1<<20))
	return err
}

// canceled reads until ctx ends.
type canceled struct {
	ctx context.Context
	io.Reader
}

// Read implements io.Reader.
func (c canceled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Reader.Read(p)
}

// table uploads a table, unless the bucket has it.
func (t *taking) table(ctx context.Context, m *manifest.TableMeta, sum [sha256.Size]byte, present map[string]int64) error {
	name := tableName(m.Identity, sum)
	if sizeBytes, ok := present[name]; ok {
		if sizeBytes != m.SizeBytes {
			return damaged(name, "it has %d bytes instead of %d: remove it", sizeBytes, m.SizeBytes)
		}
		return nil
	}
	if err := t.check(m); err != nil {
		return err
	}
	err := t.store.stream(ctx, name, func(w io.Writer) error {
		h := sha256.New()
		if err := t.copyTable(ctx, io.MultiWriter(w, h), m); err != nil {
			return err
		}
		if [sha256.Size]byte(h.Sum(nil)) != sum {
			return base.Corruptf(base.TableName(m.Number), -1, "its bytes change from one read to the next")
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.report.Uploaded++
	t.report.UploadedBytes += m.SizeBytes
	return nil
}

// check reads a table and checks all of it, so that no damage gets into the bucket.
func (t *taking) check(m *manifest.TableMeta) error {
	o := sstable.ReaderOptions{SizeBytes: m.SizeBytes, Identity: m.Identity}
	if m.Placeholder != 0 {
		o.Seq = m.LargestSeq
	}
	table, err := sstable.Open(tableFiles{opener: t.Open}, base.TableName(m.Number), o)
	if err != nil {
		return err
	}
	defer table.Close()
	if err := table.Verify(nil); err != nil {
		return err
	}
	if own := manifest.MetaOf(m.Number, table.Properties()); !own.Equal(m) {
		return base.Corruptf(base.TableName(m.Number), -1, "describes itself as %s, the MANIFEST as %s", own, m)
	}
	return nil
}

// tableFiles are the files of a checkpoint as a table is read from them.
type tableFiles struct {
	vfs.Files // nil: nothing else is asked for
	opener    func(name string) (*io.SectionReader, error)
}

// Open implements vfs.Files.
func (f tableFiles) Open(name string) (vfs.File, error) {
	r, err := f.opener(name)
	if err != nil {
		return nil, err
	}
	return tableFile{contents: r}, nil
}

// tableFile is one of them.
type tableFile struct {
	vfs.File // nil, likewise
	contents *io.SectionReader
}

// ReadAt implements vfs.File.
func (f tableFile) ReadAt(p []byte, offset int64) (int, error) { return f.contents.ReadAt(p, offset) }

// Size implements vfs.File.
func (f tableFile) Size() (int64, error) { return f.contents.Size(), nil }

// Close implements vfs.File.
func (tableFile) Close() error { return nil }

// newestPoint returns the point of the greatest sequence number; nil if there is none.
func (s store) newestPoint(ctx context.Context) (*point, error) {
	names, err := s.points(ctx)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return s.readPoint(ctx, names[len(names)-1].name)
}
