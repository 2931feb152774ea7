package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"lsmdb/internal/base"
	"lsmdb/internal/vfs"
	"lsmdb/manifest"
)

// point is a whole state: what a database consists of at one sequence number.
type point struct {
	name string

	Format   int       `json:"format"`
	Database string    `json:"database"` // its identity, 16 hexadecimal digits
	Seq      uint64    `json:"sequence"`
	Time     time.Time `json:"time"`

	// Of a point that Run has taken, in this epoch: the log leads from the point Base through this
	// state.
	Epoch uint64 `json:"epoch,omitempty"`
	Base  string `json:"base,omitempty"`

	Tables         []tableObject `json:"tables"` // by number
	ManifestNumber uint64        `json:"manifest_number"`
	Manifest       []byte        `json:"manifest"` // which lists the tables

	state manifest.State // what the MANIFEST says
}

// tableObject is a table of a point.
type tableObject struct {
	Object    string `json:"object"`
	Number    uint64 `json:"number"`
	SizeBytes int64  `json:"bytes"`
	SHA256    string `json:"sha256"`
}

const pointFormat = 1

// envelope is a point as it lies in the bucket.
type envelope struct {
	SHA256 string          `json:"sha256"` // of the bytes of Point
	Point  json.RawMessage `json:"point"`
}

// encode returns the contents of the object.
func (p *point) encode() []byte {
	inner, err := json.Marshal(p)
	if err == nil {
		sum := sha256.Sum256(inner)
		inner, err = json.Marshal(envelope{hex.EncodeToString(sum[:]), inner})
	}
	if err != nil {
		panic("invariant: points are plain values: " + err.Error())
	}
	return append(inner, '\n')
}

// readPoint reads a point and checks all that it says.
func (s store) readPoint(ctx context.Context, name string) (*point, error) {
	data, err := s.read(ctx, name)
	if err != nil {
		return nil, err
	}
	var e envelope
	if err := strictly(data, &e); err != nil {
		return nil, damaged(name, "%v", err)
	}
	if sum := sha256.Sum256(e.Point); hex.EncodeToString(sum[:]) != e.SHA256 {
		return nil, damaged(name, "its checksum does not fit")
	}
	p := &point{name: name}
	if err := json.Unmarshal(e.Point, &p); err != nil {
		return nil, damaged(name, "%v", err)
	}
	if p.Format != pointFormat {
		return nil, fmt.Errorf("lsmdb: backup: %s: %w: format %d, known is %d", name, base.ErrIncompatible, p.Format, pointFormat)
	}
	if p.state, err = decodeManifest(p.ManifestNumber, p.Manifest); err != nil {
		return nil, damaged(name, "its MANIFEST: %v", err)
	}
	if seq, ok := parsePointName(name); !ok || seq != p.Seq || uint64(p.state.LastSeq) != seq || p.Database != databaseName(p.state) {
		return nil, damaged(name, "it tells of sequence number %d, its MANIFEST of %d in database %s", p.Seq, p.state.LastSeq, databaseName(p.state))
	}
	metas := tablesOf(p.state)
	if !slices.EqualFunc(p.Tables, metas, func(t tableObject, m *manifest.TableMeta) bool {
		return t.Number == m.Number && t.SizeBytes == m.SizeBytes
	}) {
		return nil, damaged(name, "its tables are not those of its MANIFEST")
	}
	return p, nil
}

// strictly decodes JSON that stands alone. What is after it but an end of line is damage.
func strictly(data []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if rest := data[d.InputOffset():]; string(rest) != "\n" {
		return errors.New("something follows its end, or its end is missing")
	}
	return nil
}

// tablesOf returns the tables of a state by number.
func tablesOf(state manifest.State) []*manifest.TableMeta {
	all := slices.Concat(state.Version.Levels[:]...)
	slices.SortFunc(all, func(a, b *manifest.TableMeta) int { return cmp.Compare(a.Number, b.Number) })
	return all
}

// databaseName returns the identity of the database that a state is of.
func databaseName(state manifest.State) string { return fmt.Sprintf("%016x", state.DatabaseID) }

// decodeManifest returns the state that the bytes of a MANIFEST tell.
func decodeManifest(number uint64, data []byte) (state manifest.State, err error) {
	files := vfs.NewMem()
	err = vfs.WriteFile(files, base.ManifestName(number), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	var facts manifest.Facts
	if err == nil {
		state, facts, err = manifest.Load(files, "", number)
	}
	if err == nil && facts.End.TornBytes > 0 {
		err = fmt.Errorf("%d bytes of it do not verify", facts.End.TornBytes)
	}
	if err == nil && state.Version == nil {
		err = errors.New("it has no tree")
	}
	return state, err
}

// complete checks that a bucket with tables of these sizes has all of the point's.
func (p *point) complete(present map[string]int64) error {
	for _, t := range p.Tables {
		if sizeBytes, ok := present[t.Object]; !ok || sizeBytes != t.SizeBytes {
			return damaged(t.Object, "the bucket had taken it, and does not have it whole")
		}
	}
	return nil
}

// named is a point of which only the name is known.
type named struct {
	name string
	seq  uint64
}

// points returns the names of all points, by ascending sequence number. Of those of one number,
// which compactions have parted, the newest is the last.
func (s store) points(ctx context.Context) (all []named, err error) {
	objects, err := s.list(ctx, pointsPrefix)
	times := make(map[string]time.Time)
	for _, o := range objects {
		seq, ok := parsePointName(o.name)
		if !ok {
			continue
		}
		if n := len(all); n > 0 && all[n-1].seq == seq {
			for _, name := range []string{all[n-1].name, o.name} {
				p, err := s.readPoint(ctx, name)
				if err != nil {
					return nil, err
				}
				times[name] = p.Time
			}
		}
		all = append(all, named{o.name, seq})
	}
	slices.SortStableFunc(all, func(a, b named) int {
		return cmp.Or(cmp.Compare(a.seq, b.seq), times[a.name].Compare(times[b.name]))
	})
	return all, err
}

// isOn reports whether the log that a header belongs to leads through the state.
func (p *point) isOn(h logHeader) bool {
	return p.Database == h.Database && (p.name == h.Base || p.Base == h.Base)
}

// sameTree reports whether two states consist of the same tables in the same places, as far as
// descriptions tell. The time by which expiries were judged goes on by itself.
func sameTree(a, b manifest.State) bool {
	a.Now, b.Now = 0, 0
	return bytes.Equal(a.Snapshot().AppendTo(nil), b.Snapshot().AppendTo(nil))
}
