// Package budget counts the memory that databases take, by kinds, and makes the fullest
// give way where there is a bound: the Budget that databases share, or the memory limit of
// the process (limit.go).
//
// Each database has an Account. Whoever takes memory adds to it, whoever gives it back
// subtracts, and nobody waits or asks. Who has added calls Settle, without a lock. If the
// bound is exceeded, memory is taken back in this order: of cached blocks and open tables
// from the kind that takes more, and of that from the database that has most; then the
// largest memtable is flushed. Blocks and tables are dropped at once. A memtable is its
// Writer's: he finds that he was asked when he comes to his next message, and gets one.
//
// Memtables have a share of their own. Those that are being filled take a quarter of the
// budget together, beyond which the largest is flushed; with those that are not flushed yet
// they take a half, beyond which Writers wait for their Flushers.
package budget

import (
	"math"
	"runtime/metrics"
	"slices"
	"sync"
	"sync/atomic"
)

// Kind is what memory is taken for.
type Kind int

// The kinds. Memtables lie outside of Go's heap.
const (
	Active  Kind = iota // memtables that are being filled
	Sealed              // ... that are full, until they are flushed
	Kept                // ... that no flush makes fewer: flushed, but still looked at, or open read-only
	Cache               // blocks
	Tables              // indexes, filters and range deletes of tables
	Writers             // what flushes, compactions and loads hold of the tables they write
	Readers             // what iterators and compactions have read ahead
	Kinds
)

// Budget is a bound on what any number of accounts take together. All methods may be
// called concurrently.
type Budget struct {
	limitBytes int64
	taken      [Kinds]atomic.Int64
	percent    atomic.Int64 // see collectorPercent

	relieving sync.Mutex // one at a time makes room; the others go on while little is missing
}

// New makes a Budget.
func New(limitBytes int64) *Budget {
	b := &Budget{limitBytes: max(limitBytes, 1)}
	b.percent.Store(collectorPercent())
	return b
}

// Usage is what a budget or an account takes.
type Usage struct {
	LimitBytes     int64 // 0: there is none
	Taken          [Kinds]int64
	CollectorBytes int64 // garbage that Go's collector may let lie about for what is on the heap
}

// UsedBytes is the sum, which is to be below the limit.
func (u Usage) UsedBytes() int64 {
	sum := u.CollectorBytes
	for _, bytes := range u.Taken {
		sum += bytes
	}
	return sum
}

// Usage returns what all accounts of the budget take.
func (b *Budget) Usage() Usage { return usage(b.limitBytes, &b.taken, b.percent.Load()) }

// LimitBytes returns the bound.
func (b *Budget) LimitBytes() int64 { return b.limitBytes }

// usage completes what was counted.
func usage(limitBytes int64, counted *[Kinds]atomic.Int64, percent int64) Usage {
	u := Usage{LimitBytes: limitBytes}
	for k := range counted {
		u.Taken[k] = max(0, counted[k].Load())
	}
	u.CollectorBytes = (u.Taken[Cache] + u.Taken[Tables] + u.Taken[Writers] + u.Taken[Readers]) * percent / 100
	return u
}

// collectorPercent returns how much garbage there may be for what is live, in percent:
// GOGC. Where it is off, only the memory limit of the process bounds it; then the default
// counts.
func collectorPercent() int64 {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(sample)
	if percent := sample[0].Value.Uint64(); percent < math.MaxInt32 {
		return int64(percent)
	}
	return 100
}

// Account is what one database takes. A nil one pays for nothing. All methods may be called
// concurrently.
type Account struct {
	// These are set before the first use; nil: there is nothing to give. Give, of caches and
	// tables, gives back at least so many bytes of what was added for the kind, if there are as
	// many, and returns how many. Wake sends the Writer a message, if that can be done without
	// waiting.
	Give [Kinds]func(bytes int64) (given int64)
	Wake func()

	budget *Budget // nil: only the process has a limit
	taken  [Kinds]atomic.Int64
	asked  atomic.Bool // the memtable is to be flushed
}

// Open makes an account that is part of a budget; nil: of none.
func Open(b *Budget) *Account {
	a := &Account{budget: b}
	accounts.Lock()
	defer accounts.Unlock()
	accounts.open = append(accounts.open, a)
	return a
}

// closed is what an account has taken when it is closed: whatever is added or subtracted
// later does not count.
const closed = math.MinInt64 / 2

// Close gives back all that is left. It is idempotent.
func (a *Account) Close() {
	accounts.remove(a)
	for k := range a.taken {
		if left := a.taken[k].Swap(closed); left > 0 && a.budget != nil {
			a.budget.taken[k].Add(-left)
		}
	}
}

// Add counts memory of a kind; a negative number gives it back.
func (a *Account) Add(k Kind, bytes int64) {
	if a != nil && bytes != 0 && a.taken[k].Add(bytes) >= 0 && a.budget != nil {
		a.budget.taken[k].Add(bytes)
	}
}

// Usage returns what the account takes.
func (a *Account) Usage() Usage {
	if a.budget == nil {
		return usage(0, &a.taken, collectorPercent())
	}
	return usage(a.budget.limitBytes, &a.taken, a.budget.percent.Load())
}

// Bounded reports whether the account is part of a budget.
func (a *Account) Bounded() bool { return a != nil && a.budget != nil }

// Shares of the budget: one in so many parts.
const (
	activeShare   = 4 // of memtables that are being filled
	memtableShare = 2 // of all memtables
	readerShare   = 8 // of what was read ahead
	overShare     = 32
)

// leastFlushBytes is the size of the smallest memtable that is flushed before its time. To
// flush a smaller one would cost more than it gives.
func (b *Budget) leastFlushBytes() int64 { return max(16<<10, min(64<<10, b.limitBytes/16)) }

// Settle makes the fullest give way if the budget is exceeded. The caller holds no lock.
func (a *Account) Settle() {
	if !a.Bounded() {
		return
	}
	b := a.budget
	switch over := b.overBytes(); {
	case over > b.limitBytes/overShare:
		b.relieving.Lock() // whoever is at it may be asleep
	case over <= 0 && b.taken[Active].Load() <= b.limitBytes/activeShare || !b.relieving.TryLock():
		return
	}
	defer b.relieving.Unlock()
	b.relieve()
}

func (b *Budget) overBytes() int64 { return b.Usage().UsedBytes() - b.limitBytes }

// HasRoom reports whether so much more on the heap would exceed nothing.
func (a *Account) HasRoom(bytes int64) bool {
	return !a.Bounded() || a.budget.overBytes() <= -bytes*(100+a.budget.percent.Load())/100
}

// relieve makes room. The caller holds the mutex.
func (b *Budget) relieve() {
	b.percent.Store(collectorPercent())
	slackBytes := min(b.limitBytes/256, 256<<10) // so that not every block has to look for the fullest
	over := b.overBytes()
	for ; over > 0 && b.give(over*100/(100+b.percent.Load())+slackBytes); over = b.overBytes() {
	}
	b.ask(over > 0)
}

// give makes a cache or tables give up to so many bytes, if there is anything to give.
func (b *Budget) give(bytes int64) bool {
	first, second := Cache, Tables
	more := b.taken[Cache].Load() - b.taken[Tables].Load()
	if more < 0 {
		first, second, more = second, first, -more
	}
	return accounts.give(b, first, min(bytes, max(more, bytes/8))) > 0 || accounts.give(b, second, bytes) > 0
}

// ask has memtables flushed until those that are being filled, and that nobody has asked
// for, fit into their share; and the largest in any case if nothing else is left to give. It
// asks a few at a time: one whose disk is full may give up at once, and be asked again.
func (b *Budget) ask(more bool) {
	const few = 4
	for range few {
		largest, sum := accounts.fullest(b, Active)
		if largest == nil || largest.taken[Active].Load() < b.leastFlushBytes() || !more && sum <= b.limitBytes/activeShare {
			return
		}
		more = false
		largest.asked.Store(true)
		if largest.Wake != nil {
			largest.Wake()
		}
	}
}

// MustFlush reports whether the memtable that is being filled is to be flushed.
func (a *Account) MustFlush() bool {
	if !a.Bounded() || !a.asked.Load() && !a.Pressed() {
		return false
	}
	return a.taken[Active].Load() >= a.budget.leastFlushBytes()
}

// Flushing tells that the memtable is flushed, or cannot be.
func (a *Account) Flushing() {
	if a != nil {
		a.asked.Store(false)
	}
}

// Pressed reports whether memtables that are not flushed take more than their half: then
// nobody should fill one while another of his waits to be flushed.
func (a *Account) Pressed() bool {
	if !a.Bounded() {
		return false
	}
	b := a.budget
	return b.taken[Active].Load()+b.taken[Sealed].Load() > b.limitBytes/memtableShare
}

// MayReadAhead reports whether there is room for what will be needed only perhaps.
func (a *Account) MayReadAhead() bool {
	return !a.Bounded() || a.budget.taken[Readers].Load() <= a.budget.limitBytes/readerShare
}

// accounts are the open accounts of this process.
var accounts register

// register lists accounts. Its mutex is held to open and close one and to look for the
// fullest, never while somebody gives.
type register struct {
	sync.Mutex
	open []*Account
}

func (r *register) remove(a *Account) {
	r.Lock()
	defer r.Unlock()
	r.open = slices.DeleteFunc(r.open, func(other *Account) bool { return other == a })
}

// fullest returns the account of a budget, or of all if that is nil, that has taken most of
// a kind, and what all have taken together. Memtables that somebody has asked for do not
// count.
func (r *register) fullest(b *Budget, k Kind) (fullest *Account, sum int64) {
	r.Lock()
	defer r.Unlock()
	most := int64(0)
	for _, a := range r.open {
		if b != nil && a.budget != b || k == Active && a.asked.Load() {
			continue
		}
		bytes := a.taken[k].Load()
		sum += max(bytes, 0)
		if bytes > most {
			fullest, most = a, bytes
		}
	}
	return fullest, sum
}

// give makes the fullest account give of a kind, but not much at a time, as it may not be
// the fullest any more. It returns how much.
func (r *register) give(b *Budget, k Kind, bytes int64) (given int64) {
	a, _ := r.fullest(b, k)
	if a == nil || a.Give[k] == nil {
		return 0
	}
	return a.Give[k](min(bytes, a.taken[k].Load()/8+1))
}
