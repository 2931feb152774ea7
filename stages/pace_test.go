package stages

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"lsmdb/compactor"
)

// TestPace: who keeps pace with a job has used up a quarter of its room at once and the rest
// as the job goes on, and is free when the job is done, whatever becomes of it.
func TestPace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		work := newProgress()
		p := pace{work: work}
		j := work.begin(1600, nil) // 1,700 with its end
		room, used := int64(1000), 0
		look := func() (int64, int64) { return room, work.left.Load() }
		go func() {
			for used < 1000 {
				if _, err := p.keep(context.Background(), 1, look, nil, nil); err != nil {
					t.Error("it failed")
				}
				used++
				room--
			}
		}()
		check := func(when string, least, most int) {
			t.Helper()
			synctest.Wait()
			if used < least || used > most {
				t.Errorf("%s, %d of 1000 are used, not %d to %d", when, used, least, most)
			}
		}
		check("before the first notice", 1000, 1000)

		j.read(0, noticeBytes)
		room, used = 1000, 0
		go func() {
			for used < 1000 {
				_, _ = p.keep(context.Background(), 1, look, nil, nil)
				used++
				room--
			}
		}()
		check("at first", 250, 260)
		j.read(800, noticeBytes/2)
		check("before a notice", 250, 260)
		j.read(50, noticeBytes/2)
		check("in the middle", 550, 660)
		if s := p.slowed(); !s.Now || s.Times == 0 {
			t.Errorf("%+v", s)
		}
		for range 75 {
			j.read(10, noticeBytes)
			synctest.Wait() // it hears of each by itself
		}
		check("near the end", 850, 999)
		j.end()
		check("after it", 1000, 1000)
		if s := p.slowed(); s.Now || work.left.Load() != 0 || work.done.Load() < 1600 {
			t.Errorf("%+v, %d left of %d", s, work.left.Load(), work.done.Load())
		}
	})
}

// TestPaceBegins: what was done while there was no need to wait earns nothing.
func TestPaceBegins(t *testing.T) {
	work := newProgress()
	p := pace{work: work}
	before := work.begin(100_000, nil)
	before.read(100_000, noticeBytes)
	before.end()
	work.begin(1000, nil).read(0, noticeBytes)
	if p.tooFast(1000, work.left.Load()); p.credit != 250 {
		t.Errorf("at first %v of 1000 may be used", p.credit)
	}
}

// TestPaceEnds: a closed channel and a failure let go who waits.
func TestPaceEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		work := newProgress()
		j := work.begin(1000, nil)
		j.read(10, noticeBytes)
		look := func() (int64, int64) { return 100, work.left.Load() }
		ctx, cancel := context.WithCancelCause(context.Background())
		enough, closing := make(chan struct{}), make(chan struct{})
		results := make(chan error, 3)
		for _, end := range []func(*pace){
			func(p *pace) { results <- second(p.keep(ctx, 1, look, enough, nil)) },
			func(p *pace) { results <- second(p.keep(ctx, 1, look, nil, closing)) },
			func(p *pace) { results <- second(p.keep(ctx, 1, look, nil, nil)) },
		} {
			p := &pace{work: work}
			must(t, second(p.keep(ctx, 1000, look, nil, nil)))
			go end(p)
			synctest.Wait()
		}
		if len(results) != 0 {
			t.Error("somebody did not wait")
		}
		close(enough)
		must(t, <-results)
		close(closing)
		must(t, <-results)
		cancel(errBroken)
		if err := <-results; !errors.Is(err, errBroken) {
			t.Errorf("after a failure: %v", err)
		}
	})
}

// TestRunning: who asks hears of each job while it runs, and how far it is.
func TestRunning(t *testing.T) {
	work := newProgress()
	merge := &compactor.Job{Level: 1}
	first, second := work.begin(1000, nil), work.begin(10, merge)
	first.read(100, noticeBytes)
	second.read(5, 1)
	if list := work.list(nil); len(list) != 2 || list[0].Compaction != nil || list[0].Entries != 1000 || list[0].Read != 100 ||
		list[1].Compaction != merge || list[1].Read != 0 || time.Since(list[1].Since) > time.Hour {
		t.Errorf("%+v", list)
	}
	first.read(900, noticeBytes)
	if list := work.list(nil); list[0].Read != 1000 {
		t.Errorf("at the end %+v", list)
	}
	first.end()
	if list := work.list(nil); len(list) != 1 || list[0].Compaction != merge {
		t.Errorf("after the first %+v", list)
	}
	second.end()
	if list := work.list(nil); len(list) != 0 {
		t.Errorf("after both %+v", list)
	}
}

func second[T any](_ T, err error) error { return err }
