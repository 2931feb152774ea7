package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// The three kinds of objects.
const (
	tablesPrefix = "tables/"
	logPrefix    = "log/"
	pointsPrefix = "points/"
)

// tableName returns the name of a table: its identity, and what its bytes are. Two histories
// of one database that part have tables of the same identity, but not of the same bytes.
func tableName(identity uint64, sum [sha256.Size]byte) string {
	return fmt.Sprintf("%s%016x-%s", tablesPrefix, identity, hex.EncodeToString(sum[:16]))
}

// pointName returns the name of a point. A suffix keeps two of the same number apart, whose
// tables differ.
func pointName(seq uint64, suffix string) string {
	if suffix != "" {
		suffix = "-" + suffix
	}
	return fmt.Sprintf("%s%020d%s.json", pointsPrefix, seq, suffix)
}

// parsePointName returns the sequence number of a point.
func parsePointName(name string) (seq uint64, ok bool) {
	text, found := strings.CutSuffix(strings.TrimPrefix(name, pointsPrefix), ".json")
	number, suffix, _ := strings.Cut(text, "-")
	seq, err := strconv.ParseUint(number, 10, 64)
	return seq, found && err == nil && pointName(seq, suffix) == name
}

// logName returns the name of a piece of the log by the first operation in it. The one of
// number 0 claims the epoch.
func logName(epoch, first uint64) string {
	return fmt.Sprintf("%s%010d/%020d", logPrefix, epoch, first)
}

func parseLogName(name string) (epoch, first uint64, ok bool) {
	number, rest, _ := strings.Cut(strings.TrimPrefix(name, logPrefix), "/")
	epoch, err := strconv.ParseUint(number, 10, 64)
	if err == nil {
		first, err = strconv.ParseUint(rest, 10, 64)
	}
	return epoch, first, err == nil && logName(epoch, first) == name
}

// store is a bucket in which nothing is ever overwritten.
type store struct{ *blob.Bucket }

// object is what a listing tells.
type object struct {
	name      string
	sizeBytes int64
	modified  time.Time // by the clock of the bucket
}

// list returns the objects below a prefix, in the order of their names.
func (s store) list(ctx context.Context, prefix string) (all []object, err error) {
	for listing := s.List(&blob.ListOptions{Prefix: prefix}); ; {
		found, err := listing.Next(ctx)
		switch {
		case err == io.EOF:
			slices.SortFunc(all, func(a, b object) int { return strings.Compare(a.name, b.name) })
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("lsmdb: backup: list %s: %w", prefix, err)
		}
		all = append(all, object{found.Key, found.Size, found.ModTime})
	}
}

// epochs returns the numbers of all epochs, ascending.
func (s store) epochs(ctx context.Context) (all []uint64, err error) {
	for listing := s.List(&blob.ListOptions{Prefix: logPrefix, Delimiter: "/"}); ; {
		found, err := listing.Next(ctx)
		switch {
		case err == io.EOF:
			slices.Sort(all)
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("lsmdb: backup: list %s: %w", logPrefix, err)
		}
		if epoch, _, ok := parseLogName(found.Key + fmt.Sprintf("%020d", 0)); ok && found.IsDir {
			all = append(all, epoch)
		}
	}
}

// pieces returns the first operations of the pieces of the log of an epoch, ascending.
func (s store) pieces(ctx context.Context, epoch uint64) (all []uint64, err error) {
	objects, err := s.list(ctx, strings.TrimSuffix(logName(epoch, 0), fmt.Sprintf("%020d", 0)))
	for _, o := range objects {
		if _, first, ok := parseLogName(o.name); ok && first > 0 {
			all = append(all, first)
		}
	}
	return all, err
}

// errTaken says that an object of that name is there already, with other contents.
var errTaken = errors.New("lsmdb: backup: the name is taken")

// put makes an object, whole or not at all. If one with these very contents is there, it is
// the one: an attempt before this one may have succeeded without our hearing of it.
func (s store) put(ctx context.Context, name string, parts ...[]byte) error {
	err := s.stream(ctx, name, func(w io.Writer) error {
		for _, p := range parts {
			if _, err := w.Write(p); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, errTaken) {
		return err
	}
	there, readErr := s.read(ctx, name)
	if readErr != nil {
		return readErr
	}
	if !bytes.Equal(there, bytes.Join(parts, nil)) {
		return err
	}
	return nil
}

// stream makes an object of what fill writes. If fill fails, or one of that name is there,
// which is errTaken, nothing changes.
func (s store) stream(ctx context.Context, name string, fill func(io.Writer) error) error {
	ctx, abort := context.WithCancel(ctx) // which is how a writer is told to give up
	defer abort()
	w, err := s.NewWriter(ctx, name, &blob.WriterOptions{ContentType: "application/octet-stream", IfNotExist: true})
	if err == nil {
		if err = fill(w); err != nil {
			abort()
		}
		if closeErr := w.Close(); err == nil {
			err = closeErr
		}
	}
	switch {
	case err == nil:
		return nil
	case gcerrors.Code(err) == gcerrors.FailedPrecondition || gcerrors.Code(err) == gcerrors.AlreadyExists:
		return fmt.Errorf("%w: %s", errTaken, name)
	}
	return fmt.Errorf("lsmdb: backup: write %s: %w", name, err)
}

// open opens an object that must be there.
func (s store) open(ctx context.Context, name string) (*blob.Reader, error) {
	return s.openRange(ctx, name, -1)
}

// openRange opens the first bytes of an object that must be there; -1: all.
func (s store) openRange(ctx context.Context, name string, bytes int64) (*blob.Reader, error) {
	r, err := s.NewRangeReader(ctx, name, 0, bytes, nil)
	switch {
	case gcerrors.Code(err) == gcerrors.NotFound:
		return nil, damaged(name, "it is missing")
	case err != nil:
		return nil, fmt.Errorf("lsmdb: backup: read %s: %w", name, err)
	}
	return r, nil
}

// read reads an object that must be there.
func (s store) read(ctx context.Context, name string) ([]byte, error) {
	r, err := s.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("lsmdb: backup: read %s: %w", name, err)
	}
	return data, nil
}
