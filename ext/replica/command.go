package replica

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"time"

	"lsmdb/db"
)

// ErrMismatch is the response to a command whose expectation did not hold where it was
// applied. Nothing of the command was stored.
var ErrMismatch = errors.New("replica: a key does not have the value that the command expects")

// A command in a log entry:
//
//	version   1 byte, 1
//	time      8 bytes, big endian: the leader's clock in nanoseconds since 1970
//	expected  uvarint: how many expectations follow
//	...       expectations, then operations, each a kind byte and its fields
//
// Keys and values are a uvarint length and the bytes. A time is 8 bytes, big endian.
const (
	commandVersion = 1
	timeOffset     = 1
	headerBytes    = 9
)

const (
	kindPut         = 'p' // key, value
	kindPutUntil    = 'u' // key, value, time
	kindDelete      = 'd' // key
	kindDeleteRange = 'r' // start, end
	kindDeleteFrom  = 'f' // start; there is no end
	kindAbsent      = 'a' // key
	kindEquals      = 'e' // key, value
	kindDigest      = 's' // key, SHA-256 of the value
)

// maxCommandBytes bounds a command. In the database its operations take more, at most twice as much.
const maxCommandBytes = db.MaxBatchBytes / 4

// maxKeyBytes leaves room for the prefix that a key gets in the database.
const maxKeyBytes = db.MaxKeyBytes - 1

// digestBytes is the length from which on an expected value is sent as its SHA-256.
const digestBytes = 2 * sha256.Size

// Command is a batch of changes, and what must hold for it to be applied. It goes into the
// log of Raft as what Encode returns, and is applied whole or not at all, on every node alike.
//
// Its methods copy what they are given and return the command itself. What is beyond the
// limits of a database (db.MaxKeyBytes less one byte, db.MaxValueBytes, a quarter of
// db.MaxBatchBytes) makes
// the response an error that names it, and nothing of the command is stored. A Command is used
// by one goroutine at a time.
type Command struct {
	expected     uint64
	expectations []byte
	operations   []byte
}

// NewCommand returns a command that changes nothing and expects nothing.
func NewCommand() *Command { return new(Command) }

// Put stores value under key.
func (c *Command) Put(key, value []byte) *Command {
	return c.add(operation{kind: kindPut, key: key, value: value})
}

// PutUntil stores value under key until a time; the zero time means that it stays. It ends
// by the clocks of the nodes that led when commands were made, which the commands carry: so
// all nodes see it end at the same command. The latest time that any command carried counts.
func (c *Command) PutUntil(key, value []byte, until time.Time) *Command {
	if until.IsZero() {
		return c.Put(key, value)
	}
	return c.add(operation{kind: kindPutUntil, key: key, value: value, until: max(1, nanoseconds(until))})
}

// Delete removes key, whether it exists or not.
func (c *Command) Delete(key []byte) *Command { return c.add(operation{kind: kindDelete, key: key}) }

// DeleteRange removes every key of [start, end), those that the command itself has put before
// included; a nil end is no bound.
func (c *Command) DeleteRange(start, end []byte) *Command {
	return c.add(operation{kind: kindDeleteRange, key: start, value: end})
}

// add encodes an operation.
func (c *Command) add(o operation) *Command {
	kind := o.kind
	if kind == kindDeleteRange && o.value == nil {
		kind = kindDeleteFrom
	}
	c.operations = appendBytes(append(c.operations, kind), o.key)
	if kind != kindDelete && kind != kindDeleteFrom {
		c.operations = appendBytes(c.operations, o.value)
	}
	if kind == kindPutUntil {
		c.operations = binary.BigEndian.AppendUint64(c.operations, uint64(o.until))
	}
	return c
}

// Expect makes the command depend on key having this value, or none where value is nil, when
// it is applied: before its own changes, and behind all commands that come before it in the
// log. If one of a command's expectations does not hold, the response is an error that Is
// ErrMismatch, and nothing of it is stored. An empty value that is not nil is a value. Of long
// values only the SHA-256 is sent.
func (c *Command) Expect(key, value []byte) *Command {
	c.expected++
	switch {
	case value == nil:
		c.expectations = appendBytes(append(c.expectations, kindAbsent), key)
	case len(value) >= digestBytes:
		digest := sha256.Sum256(value)
		c.expectations = append(appendBytes(append(c.expectations, kindDigest), key), digest[:]...)
	default:
		c.expectations = appendBytes(append(c.expectations, kindEquals), key, value)
	}
	return c
}

// Encode returns the command as the data of a log entry, with the time of this machine's
// clock. The bytes are the caller's, and the command may be used further.
func (c *Command) Encode() []byte { return c.encode(time.Now()) }

func (c *Command) encode(now time.Time) []byte {
	data := make([]byte, 0, headerBytes+binary.MaxVarintLen64+len(c.expectations)+len(c.operations))
	data = append(data, commandVersion)
	data = binary.BigEndian.AppendUint64(data, uint64(nanoseconds(now)))
	data = binary.AppendUvarint(data, c.expected)
	data = append(data, c.expectations...)
	return append(data, c.operations...)
}

// stamp gives an encoded command the time of the node that leads, which may not be the one
// that encoded it.
func stamp(data []byte, now time.Time) {
	binary.BigEndian.PutUint64(data[timeOffset:], uint64(nanoseconds(now)))
}

// nanoseconds is a time as the engine counts it: nothing lies before 1970, and what lies
// beyond 2262 never comes.
func nanoseconds(t time.Time) int64 {
	const lastSecond = (1<<63 - 1) / int64(time.Second)
	switch seconds := t.Unix(); {
	case seconds < 0:
		return 0
	case seconds >= lastSecond:
		return 1<<63 - 1
	}
	return t.UnixNano()
}

func appendBytes(dst []byte, fields ...[]byte) []byte {
	for _, f := range fields {
		dst = append(binary.AppendUvarint(dst, uint64(len(f))), f...)
	}
	return dst
}

// expectation is what must hold: key has value, or its digest, or nothing.
type expectation struct {
	key    []byte
	absent bool
	value  []byte // if digest is nil
	digest []byte
}

// holds tells whether what key has fits: nil is nothing.
func (e *expectation) holds(value []byte) bool {
	switch {
	case e.absent || value == nil:
		return e.absent && value == nil
	case e.digest == nil:
		return bytes.Equal(value, e.value)
	}
	digest := sha256.Sum256(value)
	return bytes.Equal(digest[:], e.digest)
}

// operation is one change. Its slices are those of the log entry.
type operation struct {
	kind  byte
	key   []byte // of a range: its start
	value []byte // of a range: its end, nil if there is none
	until int64
}

// check tells whether the operation lies within the limits.
func (o *operation) check() error {
	switch {
	case len(o.key) > maxKeyBytes, o.kind == kindDeleteRange && len(o.value) > maxKeyBytes:
		return db.ErrKeyTooLarge
	case len(o.value) > db.MaxValueBytes:
		return db.ErrValueTooLarge
	}
	return nil
}

// decoded is a command that was read whole and lies within all limits.
type decoded struct {
	now          int64
	expectations []expectation
	operations   []operation
}

// decode reads a command. Whatever the bytes are, all nodes come to the same answer: so
// an error is as good a response as any.
func decode(data []byte) (*decoded, error) {
	if len(data) < headerBytes || data[0] != commandVersion {
		return nil, &refusal{errors.New("it is not one of this version")}
	}
	d := &decoded{now: int64(binary.BigEndian.Uint64(data[timeOffset:]) &^ (1 << 63))}
	r := reader{rest: data[headerBytes:]}
	for expected := r.uvarint(); expected > 0 && r.err == nil; expected-- {
		d.expectations = append(d.expectations, r.expectation())
	}
	for len(r.rest) > 0 && r.err == nil {
		d.operations = append(d.operations, r.operation())
	}
	if r.err == nil && len(data) > maxCommandBytes {
		r.err = db.ErrBatchTooLarge
	}
	if r.err != nil {
		return nil, &refusal{r.err}
	}
	return d, nil
}

// refusal is the response to a command that no node applies.
type refusal struct{ cause error }

func (r *refusal) Error() string { return "replica: the command is refused: " + r.cause.Error() }
func (r *refusal) Unwrap() error { return r.cause }

var errMalformed = errors.New("its bytes are malformed")

// reader takes fields from a command. After an error it yields empty ones.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err, r.rest = err, nil
	}
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail(errMalformed)
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail(errMalformed)
		return []byte{}
	}
	taken := r.rest[:n:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

func (r *reader) kind() byte {
	if kind := r.take(1); len(kind) == 1 {
		return kind[0]
	}
	return 0
}

func (r *reader) expectation() (e expectation) {
	kind := r.kind()
	e.key = r.bytes()
	switch kind {
	case kindAbsent:
		e.absent = true
	case kindEquals:
		e.value = r.bytes()
	case kindDigest:
		e.digest = r.take(sha256.Size)
	default:
		r.fail(errMalformed)
	}
	return e
}

func (r *reader) operation() (o operation) {
	o.kind = r.kind()
	o.key = r.bytes()
	switch o.kind {
	case kindPut:
		o.value = r.bytes()
	case kindPutUntil:
		o.value = r.bytes()
		if t := r.take(8); len(t) == 8 {
			o.until = max(1, int64(binary.BigEndian.Uint64(t)&^(1<<63))) // 0: it stays
		}
	case kindDelete:
	case kindDeleteRange:
		o.value = r.bytes()
	case kindDeleteFrom:
		o.kind = kindDeleteRange
	default:
		r.fail(errMalformed)
	}
	if err := o.check(); err != nil {
		r.fail(err)
	}
	return o
}
