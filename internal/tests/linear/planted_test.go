package linear

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/anishathalye/porcupine"

	"lsmdb/db"
	"lsmdb/internal/tests/fixture"
)

// planter is a client that plants a bug: it gives itself, and so the history, answers that
// a wrong database would have given. Keys 0 and 1 are written by it alone, one write after
// the other, so that the bug cannot be explained away by somebody else's write.
type planter struct {
	linearClient
	lie       bool   // else it does the same without the bug
	lied      bool   // the occasion was there
	processes int    // before this one
	lost      number // the value that the first crash took
}

// planted are the keys of the planter.
var planted = keyRange{0, 2}

// or is where an answer comes from: the database, or what is wrong.
func (p *planter) or(wrong fixture.Reader) fixture.Reader {
	if p.planting() {
		return wrong
	}
	return p.db()
}

func (p *planter) planting() bool {
	p.lied = true
	return p.lie
}

// unless is n without the bug, else 0.
func (p *planter) unless(n int) int {
	if p.planting() {
		return 0
	}
	return n
}

// notSync is Sync without the bug.
func (p *planter) notSync() db.Durability {
	if p.planting() {
		return db.NoSync
	}
	return db.Sync
}

func (p *planter) db() *db.DB { return p.epoch.db }

func (p *planter) crash() { p.epoch.strike() }

// put writes a new value.
func (p *planter) put(key int, d db.Durability) number {
	number := p.epoch.run.number()
	p.write([]keyValue{{key: key, value: number}}, d)
	return number
}

func (p *planter) both() []keyValue {
	r := p.epoch.run
	return []keyValue{{key: 0, value: r.number()}, {key: 1, value: r.number()}}
}

// write, unlike that of other clients, is never taken back.
func (p *planter) write(writes []keyValue, d db.Durability) {
	p.writeAs(writes, writes, d, d)
}

// writeAs stores one thing and claims another.
func (p *planter) writeAs(stored, claimed []keyValue, how, claimedHow db.Durability) {
	from := p.epoch.run.tick()
	var err error
	if len(stored) > 0 || how == db.Sync {
		err = p.db().Apply(context.Background(), p.batch(stored), how)
	}
	p.wrote(claimed, claimedHow, from, err)
}

// snapshot is what the planter answers from later. The history does not know of it; it is
// never closed, which the end of the database puts up with.
func (p *planter) snapshot() *db.Snapshot {
	s, err := p.db().NewSnapshot()
	p.err = errors.Join(p.err, err)
	return s
}

func (p *planter) at(r fixture.Reader) image {
	found, err := p.look(r, planted)
	p.err = errors.Join(p.err, err)
	return found
}

// scan reads both keys, and lets the bug change what it read.
func (p *planter) scan(r fixture.Reader, change func(found *image)) {
	from := p.epoch.run.tick()
	found := p.at(r)
	if change != nil && p.planting() {
		change(&found)
	}
	p.saw(planted, []image{found}, from, p.epoch.run.tick(), nil)
}

// tamper lets the bug change what the next process finds; change says whether it could.
func (p *planter) tamper(change func(found *image) bool) {
	p.epoch.run.tamper = func(found image) image {
		wrong := found
		if p.lied = change(&wrong); p.lied && p.lie {
			return wrong
		}
		return found
	}
}

type plant struct {
	name    string
	crashes []crashKind
	quiet   bool // nobody syncs but the planter, and nothing unsynced survives
	play    func(p *planter)
}

var (
	onClose = []crashKind{noCrash}
	onKill  = []crashKind{processKilled}
	onPower = []crashKind{powerLost}
)

// wrongReads are bugs of reads.
var wrongReads = []plant{
	{"a get misses the last put", onClose, false, func(p *planter) {
		p.put(0, db.NoSync)
		old := p.snapshot()
		p.put(0, db.NoSync)
		p.get(p.or(old), 0)
	}},
	{"a deleted key comes back", onClose, false, func(p *planter) {
		p.put(0, db.NoSync)
		old := p.snapshot()
		p.write([]keyValue{{key: 0}}, db.Sync)
		p.get(p.or(old), 0)
	}},
	{"a scan misses the last put", onClose, false, func(p *planter) {
		p.put(0, db.NoSync)
		old := p.snapshot()
		p.put(1, db.NoSync)
		p.scan(p.or(old), nil)
	}},
	{"half a batch is seen", onClose, false, func(p *planter) {
		p.write(p.both(), db.NoSync)
		old := p.snapshot()
		p.write(p.both(), db.NoSync)
		p.scan(p.db(), func(found *image) { found[1] = p.at(old)[1] })
	}},
	{"a write is seen, but not the one before", onClose, false, func(p *planter) {
		p.put(0, db.NoSync)
		old := p.snapshot()
		p.put(0, db.NoSync)
		p.put(1, db.NoSync)
		p.scan(p.db(), func(found *image) { found[0] = p.at(old)[0] })
	}},
	{"a snapshot shows what came after it", onClose, false, func(p *planter) {
		from := p.epoch.run.tick()
		s := p.snapshot()
		to := p.epoch.run.tick()
		p.put(0, db.NoSync)
		found := p.at(s)
		if p.planting() {
			found = p.at(p.db())
		}
		p.saw(planted, []image{found}, from, to, nil)
	}},
	{"a snapshot changes", onClose, false, func(p *planter) {
		from := p.epoch.run.tick()
		s := p.snapshot()
		images := []image{p.at(s), {}}
		p.put(1, db.NoSync)
		images[1] = p.at(s)
		if p.planting() {
			images[1] = p.at(p.db())
		}
		// Even with all the time until now there is no instant that shows both.
		p.saw(planted, images, from, p.epoch.run.tick(), nil)
	}},
	{"reads go back while a put is under way", onClose, false, func(p *planter) {
		p.put(0, db.NoSync)
		old := p.snapshot()
		from := p.epoch.run.tick()
		w := []keyValue{{key: 0, value: p.epoch.run.number()}}
		err := p.db().Apply(context.Background(), p.batch(w), db.NoSync)
		p.get(p.db(), 0)
		p.get(p.or(old), 0)
		p.wrote(w, db.NoSync, from, err)
	}},
}

// wrongWrites are bugs of writes that reads bring to light.
var wrongWrites = []plant{
	{"a put is acknowledged and not stored", onClose, false, func(p *planter) {
		p.put(0, db.NoSync)
		w := []keyValue{{key: 0, value: p.epoch.run.number()}}
		p.writeAs(w[:p.unless(1)], w, db.NoSync, db.NoSync)
		p.get(p.db(), 0)
	}},
	{"a delete is acknowledged and not stored", onClose, false, func(p *planter) {
		p.put(0, db.NoSync)
		w := []keyValue{{key: 0}}
		p.writeAs(w[:p.unless(1)], w, db.NoSync, db.NoSync)
		p.get(p.db(), 0)
	}},
	{"half a batch is stored", onClose, false, func(p *planter) {
		w := p.both()
		p.writeAs(w[:1+p.unless(1)], w, db.Sync, db.Sync)
		p.scan(p.db(), nil)
	}},
	{"a batch that was taken back is stored", onClose, false, func(p *planter) {
		p.write(p.both(), db.NoSync)
		noted := len(p.operations)
		p.write(p.both(), db.NoSync)
		if p.planting() {
			p.operations = p.operations[:noted] // as wrote does
		}
		p.scan(p.db(), nil)
	}},
	{"a clean close loses the last put", onClose, false, func(p *planter) {
		old := p.put(0, db.NoSync)
		p.put(0, db.NoSync)
		p.tamper(func(found *image) bool { found[0] = old; return true })
	}},
}

// wrongCrashes are bugs that a crash brings to light.
var wrongCrashes = []plant{
	{"a put is acknowledged as synced and was not", onPower, true, func(p *planter) {
		p.put(0, db.Sync)
		w := []keyValue{{key: 0, value: p.epoch.run.number()}}
		p.writeAs(w, w, p.notSync(), db.Sync)
		p.crash()
		p.tamper(func(found *image) bool { return found[0] != w[0].value }) // or a flush, for which reads had paid, made it durable
	}},
	{"Sync syncs nothing", onPower, true, func(p *planter) {
		last := p.put(0, db.NoSync)
		p.writeAs(nil, nil, p.notSync(), db.Sync)
		p.crash()
		p.tamper(func(found *image) bool { return found[0] != last }) // the same
	}},
	{"a killed process loses what was not synced", onKill, false, func(p *planter) {
		old := p.put(0, db.NoSync)
		p.put(0, db.NoSync)
		p.crash()
		p.tamper(func(found *image) bool { found[0] = old; return true })
	}},
	{"a recovery forgets a synced delete", onPower, false, func(p *planter) {
		old := p.put(0, db.NoSync)
		p.write([]keyValue{{key: 0}}, db.Sync)
		p.crash()
		p.tamper(func(found *image) bool { found[0] = old; return true })
	}},
	{"a recovery leaves out a write before another", onPower, false, func(p *planter) {
		old := p.put(0, db.Sync)
		p.put(0, db.NoSync)
		last := p.put(1, db.NoSync)
		p.crash()
		p.tamper(func(found *image) bool { found[0] = old; return found[1] == last })
	}},
	{"a recovery brings half a batch", onPower, false, func(p *planter) {
		before, w := p.both(), p.both()
		p.write(before, db.Sync)
		p.write(w, db.NoSync)
		p.crash()
		p.tamper(func(found *image) bool { found[1] = before[1].value; return found[0] == w[0].value })
	}},
	{"a recovery brings what nobody wrote", onPower, false, func(p *planter) {
		p.put(0, db.NoSync)
		p.crash()
		p.tamper(func(found *image) bool { found[0] = 0xffff; return true })
	}},
	{"what one crash lost comes back after the next", []crashKind{powerLost, powerLost}, true, func(p *planter) {
		if p.processes == 0 {
			p.put(0, db.Sync)
			p.lost = p.put(0, db.NoSync)
			p.crash()
			p.tamper(func(found *image) bool {
				if found[0] == p.lost {
					p.lost = 0
				}
				return false
			})
			return
		}
		p.put(1, db.Sync)
		p.crash()
		p.tamper(func(found *image) bool { found[0] = p.lost; return p.lost != 0 })
	}},
}

// TestLinearizabilityPlanted shows that the test above can fail: each planted bug makes
// every history impossible that it is part of, and the same history without it is possible.
func TestLinearizabilityPlanted(t *testing.T) {
	const times = 3
	all := slices.Concat(wrongReads, wrongWrites, wrongCrashes, wrongVocabulary)
	caught := 0
	for _, bug := range all {
		t.Run(bug.name, func(t *testing.T) {
			planted := 0
			for seed := uint64(1); planted < times; seed++ {
				if seed == 100 {
					t.Fatalf("planted only %d times", planted)
				}
				result, lied := checkPlant(t, bug, seed, true)
				if !lied {
					continue
				}
				planted++
				if result != porcupine.Illegal {
					t.Errorf("seed %d: %s with the bug", seed, result)
				}
				if result, _ := checkPlant(t, bug, seed, false); result != porcupine.Ok {
					t.Errorf("seed %d: %s without the bug", seed, result)
				}
			}
			if !t.Failed() {
				caught++
			}
		})
	}
	t.Logf("%d of %d planted bugs caught, each %d times", caught, len(all), times)
}

// checkPlant makes a history with the bug, or without it, and checks it.
func checkPlant(t *testing.T, bug plant, seed uint64, lie bool) (result porcupine.CheckResult, lied bool) {
	t.Helper()
	s := linearShape{
		clients: 4, steps: 12, keys: 6, groups: 1, reserved: 2, syncPercent: 10,
		crashes: bug.crashes, memtableBytes: 16 << 10, maintained: true,
	}
	if seed%2 == 0 {
		s.groups = 3 // the planter's keys are a part of their own
	}
	if bug.quiet {
		s.syncPercent, s.keepNothing, s.maintained, s.memtableBytes = 0, true, false, 4<<20
	}
	r := newLinearRun(seed, s, &linearTally{})
	p := planter{lie: lie}
	err := r.run(func(e *linearEpoch) *linearClient {
		p.linearClient = linearClient{epoch: e, rng: rand.New(rand.NewPCG(seed, 4))}
		bug.play(&p)
		p.processes++
		return &p.linearClient
	})
	fixture.Must(t, err)
	return porcupine.CheckOperationsTimeout(linearModel, r.operations, linearTimeout), p.lied
}
