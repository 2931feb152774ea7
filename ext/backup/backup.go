// Package backup keeps an lsmdb database in a bucket: of Amazon S3 and what speaks its
// protocol, Google, Azure, or a directory. Package gocloud.dev/blob opens it, and the program
// imports the driver that it wants:
//
//	import _ "gocloud.dev/blob/s3blob"
//
//	bucket, err := blob.OpenBucket(ctx, "s3://backups?prefix=orders/")
//	go backup.Run(ctx, d, bucket, nil)          // until ctx ends
//	report, err := backup.Restore(ctx, bucket, "new", backup.Time(yesterday))
//
// Run ships the log of the database every second, and takes a point now and then: a whole
// copy, of which only those tables are uploaded that the bucket lacks. Restore makes a new
// database of a point and the log behind it: as of the end, as of a sequence number, or as of
// a time. Once takes one point and no log.
//
// A bucket, or a prefix in it (blob.PrefixedBucket), belongs to one database. What is restored
// is another database, with an identity of its own: it needs another bucket or prefix.
//
// What lies in the bucket, and what holds when something fails, is told in README.md.
//
// All functions may be called concurrently.
package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/rs/zerolog"
)

// ErrFenced is the error of a Run when somebody else has begun to back up into the same bucket.
var ErrFenced = errors.New("lsmdb: backup: another Run has taken the bucket over")

// ErrForeign is the error of Run and Once where the bucket holds another database, or another
// history of this one: the database is a copy, or was set back.
var ErrForeign = errors.New("lsmdb: backup: the bucket holds another database, or another history")

// ErrNotReached is the error of a Restore to where the bucket does not reach.
var ErrNotReached = errors.New("lsmdb: backup: the bucket does not reach there")

// ErrDamaged is the error for an object that is wrong, or that must be there and is not. The
// text names it.
var ErrDamaged = errors.New("lsmdb: backup: damaged")

// damaged names the object that is wrong.
func damaged(object, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", ErrDamaged, object, fmt.Sprintf(format, args...))
}

// Options say how a database is backed up. nil means the defaults.
type Options struct {
	// LogInterval is the time between two shipments of the log; so much may be missing when
	// the machine is lost. 0: 1 second.
	LogInterval time.Duration

	// PointInterval is the time between two points. More points make a Restore shorter, and
	// take room. 0: 1 hour. Once does not look at it.
	PointInterval time.Duration

	// Logger hears of points, of stretches of the log that cannot be had, and of failures of
	// the bucket, which are tried again. The zero value is silent.
	Logger zerolog.Logger

	graceTime time.Duration // how long Run works on when its context has ended; 0: 5 seconds
}

func (o *Options) resolved() Options {
	if o == nil {
		o = &Options{}
	}
	r := *o
	r.LogInterval, r.PointInterval = max(0, r.LogInterval), max(0, r.PointInterval)
	r.LogInterval = cmp.Or(r.LogInterval, time.Second)
	r.PointInterval = cmp.Or(r.PointInterval, time.Hour)
	r.graceTime = cmp.Or(r.graceTime, 5*time.Second)
	return r
}

// Point says which state Restore makes. The zero Point is Latest.
type Point struct {
	kind pointKind
	seq  uint64
	time time.Time
}

type pointKind uint8

const (
	atLatest pointKind = iota
	atSeq
	atTime
)

// Latest is the newest state that the bucket holds.
var Latest Point

// Seq is the state after the last whole batch that ends at or before a sequence number; see
// db.Metrics.Sequence. It is ErrNotReached if the bucket does not tell of all that comes
// before: the number is too new, older than the oldest point, or nothing was shipped there.
func Seq(n uint64) Point { return Point{kind: atSeq, seq: n} }

// Time is the newest state in the bucket whose time is not after t. The time of a state is
// when Run heard of it, by the clock of the machine, and no earlier than that of any state
// before in the same Run. It is ErrNotReached before the first point.
func Time(t time.Time) Point { return Point{kind: atTime, time: t} }

// ParsePoint reads "latest", a sequence number, or a time as RFC 3339 has it.
func ParsePoint(text string) (Point, error) {
	if text == "latest" {
		return Latest, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return Seq(n), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return Latest, fmt.Errorf("%q is no point: there are latest, a sequence number, and a time like 2006-01-02T15:04:05Z", text)
	}
	return Time(t), nil
}

// String returns what ParsePoint reads.
func (p Point) String() string {
	switch p.kind {
	case atSeq:
		return strconv.FormatUint(p.seq, 10)
	case atTime:
		return p.time.Format(time.RFC3339Nano)
	}
	return "latest"
}

// Report says what was done. What does not concern a function is zero.
type Report struct {
	Seq   uint64    `json:"sequence"` // of the state: its newest write
	Time  time.Time `json:"time"`     // of the state
	Point string    `json:"point"`    // the object that it begins with

	Tables     int   `json:"tables"`      // of the state; of Verify: that were read
	TableBytes int64 `json:"table_bytes"` // of these

	Uploaded      int   `json:"uploaded"`       // tables that the bucket lacked
	UploadedBytes int64 `json:"uploaded_bytes"` // of these

	Points     int    `json:"points"`     // Verify, Prune: that are there
	Objects    int    `json:"objects"`    // of the log: that were read
	Operations uint64 `json:"operations"` // of the log: that were read or restored

	Removed      int   `json:"removed"`       // objects
	RemovedBytes int64 `json:"removed_bytes"` // of these
}

// progressKey is the key of a Progress in a context.
type progressKey struct{}

// Progress hears how far a function has come. It is called from the goroutine that works.
type Progress func(step string, doneBytes, totalBytes int64)

// WithProgress makes the functions that get the context tell how far they have come.
func WithProgress(ctx context.Context, p Progress) context.Context {
	return context.WithValue(ctx, progressKey{}, p)
}

// tell tells the Progress of a context.
func tell(ctx context.Context, step string, doneBytes, totalBytes int64) {
	if p, ok := ctx.Value(progressKey{}).(Progress); ok && p != nil {
		p(step, doneBytes, totalBytes)
	}
}
