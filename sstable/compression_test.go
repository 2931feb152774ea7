package sstable

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"lsmdb/internal/base"

	"github.com/klauspost/compress/zstd"
)

// payloadsOf are of all lengths, some of them compressible.
func payloadsOf(rng *rand.Rand) (payloads [][]byte) {
	for _, n := range []int{1, 6, 100, 255, 256, 4096, 65792, 300 << 10, 3 << 20} {
		noise := make([]byte, n)
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		payloads = append(payloads, noise, bytes.Repeat([]byte("ab"), n), make([]byte, n))
	}
	return payloads
}

func TestCompressionRoundTrip(t *testing.T) {
	for _, c := range []Compression{CompressionSnappy, CompressionZstd} {
		var group sync.WaitGroup
		for seed := range uint64(4) {
			group.Go(func() {
				var stored, content []byte
				var err error
				for _, payload := range payloadsOf(rand.New(rand.NewPCG(seed, 0))) {
					stored = c.compress(stored, payload)
					if content, err = c.decompress(content, stored); err != nil || !bytes.Equal(content, payload) {
						t.Errorf("%s, %d bytes: %v", c, len(payload), err)
					}
				}
			})
		}
		group.Wait()
	}
	stacks := make([]byte, 1<<20)
	if stacks = stacks[:runtime.Stack(stacks, true)]; bytes.Contains(stacks, []byte("zstd.")) {
		t.Errorf("a goroutine is left behind:\n%s", stacks)
	}
}

// TestZstdKeepsItsBuffer: blocks of different lengths are decoded into the same memory.
func TestZstdKeepsItsBuffer(t *testing.T) {
	short, long := CompressionZstd.compress(nil, make([]byte, 100)), CompressionZstd.compress(nil, make([]byte, 4000))
	buffer := must(CompressionZstd.decompress(nil, long))(t)
	first := &buffer[0]
	for _, stored := range [][]byte{short, long} {
		if buffer = must(CompressionZstd.decompress(buffer, stored))(t); &buffer[0] != first {
			t.Fatal("another buffer is used")
		}
	}
	allocated := testing.AllocsPerRun(100, func() { buffer, _ = CompressionZstd.decompress(buffer, long) })
	if allocated > 1 && !base.Invariants { // under the race detector pools lose what they are given now and then
		t.Errorf("%v allocations to decompress a block", allocated)
	}
}

// TestFramesThatClaim: what cannot be is refused before memory is taken for it.
func TestFramesThatClaim(t *testing.T) {
	sound := CompressionZstd.compress(nil, bytes.Repeat([]byte("x"), 300))
	streamed := new(bytes.Buffer)
	w := must(zstd.NewWriter(streamed, zstd.WithEncoderConcurrency(1)))(t)
	must(w.Write(bytes.Repeat([]byte("stream"), 100000)))(t)
	w.Close()
	claim := func(bytes ...byte) []byte { return append([]byte{0x28, 0xb5, 0x2f, 0xfd}, bytes...) }
	for name, c := range map[string]struct {
		stored []byte
		want   string
	}{
		"nothing":           {nil, "EOF"},
		"no frame":          {[]byte("what is this"), "magic number"},
		"cut":               {sound[:len(sound)-1], "EOF"},
		"another frame":     {append(bytes.Clone(sound), CompressionZstd.compress(nil, make([]byte, 900))...), "exceed"},
		"bytes behind":      {append(bytes.Clone(sound), 1, 2, 3, 4, 5), "magic number"},
		"more than 4 bytes": {claim(0xa0, 0xff, 0xff, 0xff, 0x7f, 1, 0, 0), "claim to hold 2147483647"},
		"more than 63 bits": {claim(0xe0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0), "claim to hold 18446744073709551615"},
		"more than any":     {append(claim(0xe0, 1, 0, 0, 0x20, 0, 0, 0, 0), make([]byte, 1<<20)...), "claim to hold 536870913"},
		"less":              {claim(0x20, 3, 0x2b, 0, 0, 'x'), ""},
		"no length":         {streamed.Bytes(), "does not tell its length"},
		"one to be skipped": {append([]byte{0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0}, 1, 2), "does not tell its length"},
	} {
		before := runtime.MemStats{}
		runtime.ReadMemStats(&before)
		_, err := CompressionZstd.decompress(nil, c.stored)
		after := runtime.MemStats{}
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
			t.Errorf("%s: %d bytes were allocated", name, took)
		}
	}
}
