package engine

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	compression "github.com/dgraph-io/badger/v4/options"
)

var badgerKind = Kind{
	Name: "badger", Module: "github.com/dgraph-io/badger/v4", Go: true, LSM: true,
	Can:  []Ability{Transactions, Expiry, Zstd},
	Open: openBadger,
	Settings: func(Options) []string {
		return []string{
			"DetectConflicts=false (true for transactions)", "MetricsEnabled=false", "PrefetchValues=false",
			"IndexCacheSize=0 (all indexes in memory)", "block 4 KiB", "defaults otherwise",
		}
	},
}

type badgerEngine struct{ d *badger.DB }

func openBadger(o Options) (Engine, error) {
	options := badger.DefaultOptions(o.Dir)
	if o.Small {
		options = options.WithValueLogFileSize(1 << 20).WithValueThreshold(1 << 10) // a small memtable allows no more
	}
	codec := compression.Snappy
	if o.Zstd {
		codec = compression.ZSTD
	}
	d, err := badger.Open(options.
		WithSyncWrites(o.Sync).
		WithMemTableSize(o.MemtableBytes).
		WithBlockCacheSize(o.CacheBytes).
		WithBloomFalsePositive(falsePositives(o.FilterBits)).
		WithCompression(codec).
		WithDetectConflicts(o.Conflicts).
		WithMetricsEnabled(false).
		WithLogger(silent{}))
	if err != nil {
		return nil, err
	}
	return &badgerEngine{d: d}, nil
}

// falsePositives is the rate that an optimal Bloom filter of so many bits has;
// Badger computes the bits back from it.
func falsePositives(bits int) float64 {
	return math.Exp(-float64(bits) * math.Ln2 * math.Ln2)
}

func (e *badgerEngine) Get(dst, key []byte) ([]byte, error) {
	txn := e.d.NewTransaction(false)
	defer txn.Discard()
	return badgerTx{txn}.Get(dst, key)
}

type badgerTx struct{ txn *badger.Txn }

func (t badgerTx) Get(dst, key []byte) ([]byte, error) {
	item, err := t.txn.Get(key)
	if err != nil {
		if err == badger.ErrKeyNotFound {
			return dst, ErrNotFound
		}
		return dst, err
	}
	err = item.Value(func(value []byte) error {
		dst = append(dst, value...)
		return nil
	})
	return dst, err
}

// Put copies its arguments, since a transaction keeps them until it is written.
func (t badgerTx) Put(key, value []byte) error {
	return t.txn.Set(slices.Clone(key), slices.Clone(value))
}

func (e *badgerEngine) Put(key, value []byte) error {
	return e.d.Update(func(txn *badger.Txn) error { return badgerTx{txn}.Put(key, value) })
}

func (e *badgerEngine) Update(fn func(Tx) error) error {
	for {
		err := e.d.Update(func(txn *badger.Txn) error { return fn(badgerTx{txn}) })
		if err != badger.ErrConflict {
			return err
		}
	}
}

func (e *badgerEngine) View(fn func(Reader) error) error {
	return e.d.View(func(txn *badger.Txn) error { return fn(badgerTx{txn}) })
}

func (e *badgerEngine) Delete(key []byte) error {
	return e.d.Update(func(txn *badger.Txn) error { return txn.Delete(slices.Clone(key)) })
}

func (e *badgerEngine) Flush() error    { return nil } // no such call
func (e *badgerEngine) Close() error    { return e.d.Close() }
func (e *badgerEngine) Persist() error  { return nil } // write(2), or a map, before every answer
func (e *badgerEngine) NewBatch() Batch { return &badgerBatch{e: e} }

type badgerBatch struct {
	e   *badgerEngine
	txn *badger.Txn // nil while the batch is empty
}

func (b *badgerBatch) begin() *badger.Txn {
	if b.txn == nil {
		b.txn = b.e.d.NewTransaction(true)
	}
	return b.txn
}

func (b *badgerBatch) Put(key, value []byte) error {
	return badgerTx{b.begin()}.Put(key, value)
}

// PutUntil rounds up, since Badger counts seconds.
func (b *badgerBatch) PutUntil(key, value []byte, until time.Time) error {
	entry := badger.NewEntry(slices.Clone(key), slices.Clone(value))
	entry.ExpiresAt = uint64(until.Add(time.Second - 1).Unix())
	return b.begin().SetEntry(entry)
}

func (b *badgerBatch) Delete(key []byte) error { return b.begin().Delete(slices.Clone(key)) }

func (b *badgerBatch) Commit() error {
	err := b.begin().Commit()
	b.txn = nil
	return err
}

type badgerIterator struct {
	txn *badger.Txn
	it  *badger.Iterator
	err error
}

func (e *badgerEngine) NewIterator(reverse bool) (Iterator, error) {
	txn := e.d.NewTransaction(false)
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false // values lie beside their keys: a goroutine for each costs more than it saves
	o.Reverse = reverse
	return &badgerIterator{txn: txn, it: txn.NewIterator(o)}, nil
}

func (i *badgerIterator) First() bool {
	i.it.Rewind()
	return i.it.Valid()
}

func (i *badgerIterator) Seek(key []byte) bool {
	i.it.Seek(key)
	return i.it.Valid()
}

func (i *badgerIterator) Next() bool {
	i.it.Next()
	return i.it.Valid()
}

func (i *badgerIterator) Key() []byte { return i.it.Item().Key() }

func (i *badgerIterator) Value() (value []byte) {
	err := i.it.Item().Value(func(v []byte) error {
		value = v
		return nil
	})
	if err != nil && i.err == nil {
		i.err = err
	}
	return value
}

func (i *badgerIterator) Close() error {
	i.it.Close()
	i.txn.Discard()
	return i.err
}

// badgerPipeline uses CommitWith, Badger's asynchronous commit.
type badgerPipeline struct {
	e *badgerEngine
	// places holds one token per write under way. Put sends, the callback of the
	// commit receives; never closed. Its capacity is the depth.
	places chan struct{}

	mu  sync.Mutex // protects err: callbacks run in goroutines of Badger
	err error
}

func (e *badgerEngine) NewPipeline(depth int) Pipeline {
	return &badgerPipeline{e: e, places: make(chan struct{}, depth)}
}

func (p *badgerPipeline) Put(key, value []byte, acknowledged func()) error {
	txn := p.e.d.NewTransaction(true)
	if err := txn.Set(slices.Clone(key), slices.Clone(value)); err != nil {
		return err
	}
	p.places <- struct{}{}
	txn.CommitWith(func(err error) {
		if err != nil {
			p.mu.Lock()
			p.err = err
			p.mu.Unlock()
		}
		if acknowledged != nil {
			acknowledged()
		}
		<-p.places
	})
	return nil
}

func (p *badgerPipeline) Drain() error {
	for range cap(p.places) {
		p.places <- struct{}{}
	}
	for range cap(p.places) {
		<-p.places
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
