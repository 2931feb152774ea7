// Package metamorphic draws random histories of a key-value store, writes them down as
// scripts, and runs them against anything that is a Store, comparing every single
// result with a sorted list that is the model. So one history under many option sets,
// or against other databases, must give the same results operation by operation. A
// history that fails is shrunk to a short script. Only tests import this package.
package metamorphic

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"

	"lsmdb/internal/base"
)

// History is a sequence of operations of one caller. Every part of one is a history
// as well: what acts on something that was never opened does nothing.
type History []Operation

// Kind says what an operation does. The string is its name in a script.
type Kind string

// Kinds of operations, with the fields that each uses.
const (
	Put     Kind = "put"     // Writes[0], Durability
	Delete  Kind = "delete"  // Writes[0], Durability
	Batch   Kind = "batch"   // Writes, Durability
	Submit  Kind = "submit"  // Writes, Durability; what reads waits for it, writes do not
	Get     Kind = "get"     // From, Key
	Has     Kind = "has"     // From, Key
	Scan    Kind = "scan"    // From; everything, forward and back
	Sync    Kind = "sync"    //
	Flush   Kind = "flush"   //
	Compact Kind = "compact" // Lower, Upper

	NewSnapshot Kind = "snapshot" // On
	NewIterator Kind = "iterator" // On, From, Lower, Upper, Prefix
	First       Kind = "first"    // On, like the rest of the moves
	Last        Kind = "last"
	Next        Kind = "next"
	Prev        Kind = "prev"
	SeekGE      Kind = "seekge" // On, Key
	SeekLT      Kind = "seeklt" // On, Key
	Close       Kind = "close"  // On; a snapshot or an iterator

	Restart Kind = "restart" // End, Verify, ReadOnly

	// Those of a Vocabulary only. Put and Delete may concern a keyspace or be part of a
	// transaction, too: then On names it, and there is no Durability.
	DeleteRange Kind = "deleterange" // Writes[0], Durability, On
	Merge       Kind = "merge"       // Writes[0], Durability, On
	PutUntil    Kind = "putuntil"    // Writes[0], Durability, On
	Size        Kind = "size"        // From, Space, Key
	Load        Kind = "load"        // Writes
	Checkpoint  Kind = "checkpoint"  // what a database made of it holds
	SetClock    Kind = "clock"       // Seconds
	Begin       Kind = "begin"       // On; a transaction, which Close discards
	Commit      Kind = "commit"      // On, Durability
)

// Handle names what an operation acts on: the Database, "s1" and so on for snapshots,
// "i1" and so on for iterators, "t1" and so on for transactions.
type Handle string

// Database is the Handle of the database itself.
const Database Handle = "db"

// Durability is what a write asks for.
type Durability string

// Durabilities: that of the options, or one named with the write.
const (
	ByDefault Durability = "default"
	Synced    Durability = "sync"
	Unsynced  Durability = "nosync"
	Queued    Durability = "queued"
)

// End says how a database ends before it is opened again. After each of them all
// that was acknowledged must be there.
type End string

// Ends of a database.
const (
	CleanClose End = "clean"
	// Killed: from one instant on, nothing is written any more.
	Killed End = "kill"
	// PowerLost: synced first, then only what is durable is left.
	PowerLost End = "powerloss"
)

// Operation is one line of a script.
type Operation struct {
	Kind       Kind
	On, From   Handle
	Key        []byte
	Lower      []byte // nil: none
	Upper      []byte // nil: none
	Prefix     []byte // nil: none
	Writes     []Write
	Durability Durability
	End        End
	Verify     bool   // while it is closed
	ReadOnly   bool   // open it for reading only
	Space      []byte // of a read: from the keyspace of this prefix; nil: from none
	KeysOnly   bool   // of an iterator or a scan: without values
	Seconds    int
}

// Write puts a value, if nothing else is said.
type Write struct {
	Space  []byte // the prefix of the keyspace that it is made in; nil: none
	Key    []byte
	Delete bool
	Range  bool   // deletes from Key up to End
	End    []byte // nil: no bound
	Merge  bool   // merges Value onto what there is
	Value  Value
	Until  int // the value ends then, in seconds since the beginning; 0: it stays
}

// kind is the name of a write.
func (w Write) kind() Kind {
	switch {
	case w.Range:
		return DeleteRange
	case w.Delete:
		return Delete
	case w.Merge:
		return Merge
	case w.Until != 0:
		return PutUntil
	}
	return Put
}

// isPlain reports whether every Store knows it.
func (w Write) isPlain() bool { return w.Space == nil && (w.kind() == Put || w.kind() == Delete) }

// Value stands for the bytes of a value. Those of different numbers are different,
// except empty ones.
type Value struct {
	Number  int
	Size    int  // of the filling, in bytes; 0: the value is empty
	Regular bool // it can be compressed
}

// Bytes makes the value.
func (v Value) Bytes() []byte {
	if v.Size == 0 {
		return []byte{}
	}
	b := fmt.Appendf(nil, "%d,", v.Number)
	if v.Regular {
		return append(b, strings.Repeat("x", v.Size)...)
	}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(v.Number))
	filling := make([]byte, v.Size)
	rand.NewChaCha8(seed).Read(filling) // never fails, says its documentation
	return append(b, filling...)
}

// DrawValue draws a value of that number, from empty to larger than a small memtable.
func DrawValue(rng *rand.Rand, number int) Value {
	v := Value{Number: number, Regular: rng.IntN(2) == 0}
	switch n := rng.IntN(100); {
	case n < 8:
	case n < 60:
		v.Size = 1 + rng.IntN(60)
	case n < 90:
		v.Size = 1 + rng.IntN(1000)
	case n < 98:
		v.Size = 4000 + rng.IntN(5000)
	default:
		v.Size = 10000 + rng.IntN(60000)
	}
	return v
}

// DrawKey draws one of that many different keys: empty, short, long, binary ones.
func DrawKey(rng *rand.Rand, keys int) []byte {
	switch n := rng.IntN(keys); n {
	case 0:
		return []byte{}
	case 1:
		return []byte(strings.Repeat("\xff", 1+rng.IntN(3)))
	case 2:
		return []byte(strings.Repeat("k", base.MaxKeyBytes))
	case 3:
		return []byte("k\x00")
	default:
		return fmt.Appendf(nil, "k%0*d", 1+n%4*2, n)
	}
}
