//go:build unix

package soak

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"lsmdb/ext/replica/internal/server"
)

var (
	faults = flag.Int("soak.faults", 20, "how many faults to inject")
	seed   = flag.Uint64("soak.seed", 1, "what chooses them")
	plot   = flag.String("soak.plot", "", "file for a picture of a history that is not linearizable")
)

const (
	clients     = 9
	keysAtATime = 3

	// Of a key; then another one takes its place. What has no certain outcome may come at any
	// time, so that there are very many orders to be tried.
	operationMax = 60
	uncertainMax = 4
)

// TestSoak lets clients read and write through all nodes while processes are killed, stopped and cut
// off, and checks that each key behaves like a register: every read shows the latest write that
// was acknowledged, or one that is under way.
func TestSoak(t *testing.T) {
	c := newCluster(t)
	h := &history{uncertainOn: map[string]int{}}
	stop := make(chan struct{})
	var work sync.WaitGroup
	for id := range clients {
		rng := rand.New(rand.NewPCG(*seed, uint64(id)))
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					h.operate(c, id, rng)
				}
			}
		})
	}
	injected := torment(c, rand.New(rand.NewPCG(*seed, 1000)))
	close(stop)
	work.Wait()

	contents := c.settle()
	for i := range contents {
		if contents[i] != contents[0] {
			t.Errorf("node %s holds something else than node %s", c.nodes[i].config.ID, c.nodes[0].config.ID)
		}
	}
	restored := uint64(0)
	for i := range c.nodes {
		restored += c.status(i).Restored
	}
	h.readAll(c)
	t.Logf("%d faults: %v; %d operations, of which %d have no certain outcome, over %d keys; %d snapshots restored",
		*faults, injected, len(h.operations), h.uncertain.Load(), h.next.Load()+keysAtATime, restored)
	if done := int64(len(h.operations)) - h.uncertain.Load(); done < 100 {
		t.Errorf("only %d operations were carried out", done)
	}
	h.check(t)
}

// check checks each key by itself.
func (h *history) check(t *testing.T) {
	verdicts := map[porcupine.CheckResult]int{}
	for _, operations := range register.Partition(h.operations) {
		verdict := porcupine.CheckOperationsTimeout(register, operations, time.Minute)
		verdicts[verdict]++
		if verdict != porcupine.Illegal {
			continue
		}
		t.Errorf("%s is not linearizable", operations[0].Input.(input).key)
		if *plot != "" {
			_, info := porcupine.CheckOperationsVerbose(register, operations, time.Minute)
			if err := porcupine.VisualizePath(register, info, *plot); err != nil {
				t.Error(err)
			}
		}
	}
	t.Logf("keys: %d are linearizable, %d are not, %d are undecided", verdicts[porcupine.Ok], verdicts[porcupine.Illegal], verdicts[porcupine.Unknown])
	if verdicts[porcupine.Unknown] > 0 {
		t.Errorf("%d keys have too many orders to be tried", verdicts[porcupine.Unknown])
	}
}

// torment injects faults, one after the other, some two at a time, and ends all of them.
func torment(c *cluster, rng *rand.Rand) map[string]int {
	injected := map[string]int{}
	hold := func(least, most int) {
		time.Sleep(time.Duration(least+rng.IntN(most-least)) * time.Millisecond)
	}
	hold(500, 1000) // so that there is a leader and a history
	for done := 0; done < *faults; {
		node := rng.IntN(len(c.nodes))
		if rng.IntN(2) == 0 {
			node = c.leader()
		}
		name, end := inject(c, rng, node)
		injected[name]++
		done++
		if rng.IntN(5) == 0 && done < *faults {
			hold(20, 200)
			second, endSecond := inject(c, rng, (node+1)%len(c.nodes))
			injected[second]++
			done++
			hold(50, 500)
			endSecond()
		}
		hold(50, 900)
		end()
		hold(20, 700)
	}
	return injected
}

// inject begins a fault and returns what ends it.
func inject(c *cluster, rng *rand.Rand, node int) (name string, end func()) {
	n := c.nodes[node]
	other := (node + 1 + rng.IntN(2)) % len(c.nodes)
	heal := func() { c.each(node, (*cable).heal) }
	switch rng.IntN(7) {
	case 0, 1:
		c.kill(n)
		return "killed", func() { c.start(n) }
	case 2, 3:
		c.signal(n, syscall.SIGSTOP)
		return "stopped", func() { c.signal(n, syscall.SIGCONT) }
	case 4:
		c.each(node, (*cable).sever)
		return "cut off", heal
	case 5:
		c.each(node, (*cable).stall)
		return "stalled", heal
	default:
		c.cables[node][other].sever()
		return "one way cut", heal
	}
}

// Operations on a key.
const (
	opGet = iota
	opPut
	opCompareAndPut
	opSwap
	opDelete
)

type input struct {
	kind        int
	key         string
	value, want string // want: of opCompareAndPut; empty: absent
}

type output struct {
	unknown bool   // it may have been carried out, or will be, or not
	value   string // read; empty: absent
	refused bool   // of opCompareAndPut: there was something else
}

// register is a key.
var register = porcupine.Model{
	Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
		keys := map[string][]porcupine.Operation{}
		for _, o := range all {
			keys[o.Input.(input).key] = append(keys[o.Input.(input).key], o)
		}
		var parts [][]porcupine.Operation
		for _, p := range keys {
			parts = append(parts, p)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		i, o, value := in.(input), out.(output), state.(string)
		switch i.kind {
		case opPut:
			return true, i.value
		case opDelete:
			return true, ""
		case opSwap:
			return o.unknown || o.value == value, i.value
		case opCompareAndPut:
			if value == i.want {
				return o.unknown || !o.refused, i.value
			}
			return o.unknown || o.refused, value
		}
		return o.value == value, value
	},
	DescribeOperation: func(in, out any) string {
		i, o := in.(input), out.(output)
		return fmt.Sprintf("%s %s %q (want %q) -> %q refused %v unknown %v", [...]string{"get", "put", "compare", "swap", "delete"}[i.kind], i.key, i.value, i.want, o.value, o.refused, o.unknown)
	},
}

// history is what the clients did and saw.
type history struct {
	mu          sync.Mutex
	operations  []porcupine.Operation
	onKey       [keysAtATime]int    // operations so far
	names       [keysAtATime]string // of the keys
	next        atomic.Int64        // number of the next new key
	uncertainOn map[string]int
	uncertain   atomic.Int64
	values      atomic.Int64
	began       time.Time
}

// key returns one of the keys that are in use.
func (h *history) key(rng *rand.Rand) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := rng.IntN(keysAtATime)
	if h.names[i] == "" || h.onKey[i] >= operationMax || h.uncertainOn[h.names[i]] >= uncertainMax {
		h.names[i], h.onKey[i] = fmt.Sprintf("key-%06d", h.next.Add(1)), 0
	}
	h.onKey[i]++
	return h.names[i]
}

// operate carries out an operation through some node and notes what came of it.
func (h *history) operate(c *cluster, client int, rng *rand.Rand) {
	in := input{key: h.key(rng), kind: opGet}
	switch rng.IntN(10) {
	case 0, 1, 2:
		in.kind = opPut
	case 3:
		in.kind = opCompareAndPut
		in.want = h.lastOf(in.key)
	case 4:
		in.kind = opSwap
	case 5:
		in.kind = opDelete
	}
	if in.kind != opGet && in.kind != opDelete {
		in.value = fmt.Sprint(h.values.Add(1))
	}
	// Each client has its node: so those of a node that was stopped wait there, while others go on.
	h.carryOut(c, client, client%len(c.nodes), in)
}

// lastOf is what the newest operation on a key wrote or read.
func (h *history) lastOf(key string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.operations) - 1; i >= 0; i-- {
		if in := h.operations[i].Input.(input); in.key == key {
			return in.value + h.operations[i].Output.(output).value
		}
	}
	return ""
}

// carryOut asks a node and notes the outcome. What was certainly not carried out is not noted.
func (h *history) carryOut(c *cluster, client, node int, in input) (noted bool) {
	call := time.Now()
	out, certain := ask(c, node, in)
	back := time.Now()
	if !certain || out.unknown {
		time.Sleep(20 * time.Millisecond) // where nobody answers, there is no use in asking a thousand times
	}
	if !certain {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.began.IsZero() {
		h.began = call
	}
	o := porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call.Sub(h.began).Nanoseconds(), Return: back.Sub(h.began).Nanoseconds()}
	if out.unknown {
		// It may come yet: nobody waits for it any more, so it is not the client's from now on.
		h.uncertainOn[in.key]++
		o.Return, o.ClientId = math.MaxInt64, clients+1+int(h.uncertain.Add(1))
	}
	h.operations = append(h.operations, o)
	return true
}

// ask carries out an operation. Certain is false if it certainly was not carried out.
func ask(c *cluster, node int, in input) (out output, certain bool) {
	timeout := "?timeout=" + patience.String()
	var answer []byte
	var status int
	entry := server.Entry{Key: &in.key}
	var changes server.Changes
	switch in.kind {
	case opGet:
		answer, status = c.ask(http.MethodGet, node, "/kv/"+in.key+timeout, nil)
	case opSwap:
		answer, status = c.ask(http.MethodPost, node, "/swap/"+in.key, []byte(in.value))
	case opDelete:
		changes.Delete = []server.Entry{entry}
	case opCompareAndPut:
		want := entry
		if in.want != "" {
			want.Value = &in.want
		}
		changes.Expect = []server.Entry{want}
		fallthrough
	case opPut:
		put := entry
		put.Value = &in.value
		changes.Put = []server.Entry{put}
	}
	if in.kind != opGet && in.kind != opSwap {
		body, err := json.Marshal(changes)
		if err != nil {
			c.t.Error(err)
		}
		_, status = c.ask(http.MethodPost, node, "/kv"+timeout, body)
	}
	switch status {
	case http.StatusOK:
		return output{value: string(answer)}, true
	case http.StatusNoContent:
		return output{}, true
	case http.StatusNotFound:
		return output{}, in.kind == opGet
	case http.StatusPreconditionFailed:
		return output{refused: true}, true
	case http.StatusServiceUnavailable, notSent:
		return output{}, false
	}
	return output{unknown: true}, in.kind != opGet
}

// readAll reads every key once more, as of now: what was acknowledged must be there.
func (h *history) readAll(c *cluster) {
	keys := map[string]bool{}
	for _, o := range h.operations {
		keys[o.Input.(input).key] = true
	}
	for key := range keys {
		deadline := time.Now().Add(time.Minute)
		for !h.carryOut(c, clients, 0, input{kind: opGet, key: key}) {
			if time.Now().After(deadline) {
				c.t.Fatalf("%s cannot be read", key)
			}
		}
	}
}
