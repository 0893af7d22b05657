package decoder

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"dataflex.dev/dataflex/driver"
	"dataflex.dev/dataflex/model/autograd"
)

// diary is what a pass of a sharded model does, in order.
type diary []string

func (d *diary) add(format string, of ...any) { *d = append(*d, fmt.Sprintf(format, of...)) }

// Before and After implement Follower.
func (d *diary) Before(section int) error { d.add("back in %d", section); return nil }
func (d *diary) After(section int) error  { d.add("back from %d", section); return nil }

// noted is a token mixer that notes when it computes.
type noted struct {
	tokenMixer
	in *diary
}

func (n noted) mix(m *Model, i int, h *autograd.Value, b *Batch, cache *Cache) *autograd.Value {
	n.in.add("layer %d", i)
	return n.tokenMixer.mix(m, i, h, b, cache)
}

// TestSectionsAhead: the gather of a section is on its way while the section before it computes,
// forward and backward, also in a process that goes along; a section that the window has is not
// gathered.
func TestSectionsAhead(t *testing.T) {
	want := diary{
		"gather the embeddings", "wait for the embeddings",
		"gather layer 0", "wait for layer 0",
		"gather layer 1", "layer 0", "wait for layer 1",
		"gather the head", "layer 1", "wait for the head",
		"back in 3", "back from 3",
		"gather layer 0", "back in 2", "back from 2", "wait for layer 0",
		"gather the embeddings", "back in 1", "back from 1", "wait for the embeddings",
		"back in 0", "back from 0",
	}
	c := shapes()["qwen3"]
	c.Tied = false
	each(2, func(dev driver.Device, job driver.Collective) {
		var got diary
		m := randomFrom(t, dev, c, forms{shards: &Shards{
			Rank: job.Rank(), Of: job.Size(),
			Gather: func(what string, own, all driver.F32) func() error {
				got.add("gather %s", what)
				return func() error {
					got.add("wait for %s", what)
					return job.AllGather(context.Background(), own, all)
				}
			},
			Take: func(_ uint32, do func() error) error { return do() },
		}})
		spread(t, m)
		adapt(t, m, LoRA{Rank: 2, Alpha: 3, Targets: []string{"all"}})
		for i := range m.layers {
			m.layers[i].mixer = noted{m.layers[i].mixer, &got}
		}
		b := ragged(m)
		m.follower = &got
		var err error
		if got, m.shards.holds = nil, [window]int{noSection, noSection}; job.Rank() == 1 {
			err = m.RunIdleBackward()
			for i := range m.layers { // it computes nothing
				got = slices.Insert(got, slices.Index(got, "wait for "+m.shards.name(i+2)), fmt.Sprintf("layer %d", i))
			}
		} else {
			_, err = m.Backward(b, Objective{Weight: sampleWeights(b), Train: true})
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("process %d: %v, %q", job.Rank(), err, got)
		}
	})
}
