package rng

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A state is one tag byte followed by little-endian fields; its length is fixed per
// generator. Tags and layouts never change: checkpoints hold them.
const (
	tagTorch       = 'T'
	tagPCG64       = 'P'
	tagRandomState = 'N'
	tagPython      = 'Y'
)

const mtStateLen = 4*mtWords + 2

func (m *mt19937) append(b []byte) []byte {
	for _, w := range m.state {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return binary.LittleEndian.AppendUint16(b, uint16(m.next))
}

func (m *mt19937) read(b []byte) error {
	next := int(binary.LittleEndian.Uint16(b[4*mtWords:]))
	if next > mtWords {
		return fmt.Errorf("position %d is past the %d words of MT19937", next, mtWords)
	}
	for i := range m.state {
		m.state[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	m.next = next
	return nil
}

func appendHalf(b []byte, v float64, has bool) []byte {
	flag := byte(0)
	if has {
		flag = 1
	}
	return binary.LittleEndian.AppendUint64(append(b, flag), math.Float64bits(v))
}

func readHalf(b []byte) (float64, bool) {
	return math.Float64frombits(binary.LittleEndian.Uint64(b[1:])), b[0] == 1
}

// body checks tag and length and returns what follows the tag.
func body(state []byte, tag byte, length int, name string) ([]byte, error) {
	if len(state) == 0 {
		return nil, errors.New("random state is empty")
	}
	if state[0] != tag {
		return nil, fmt.Errorf("random state of kind %q is not one of %s (%q)", state[0], name, tag)
	}
	if len(state) != 1+length {
		return nil, fmt.Errorf("random state of %s has %d bytes, want %d", name, len(state), 1+length)
	}
	return state[1:], nil
}

// State exports the stream's position for a checkpoint.
func (g *Torch) State() []byte {
	return appendHalf(g.mt.append([]byte{tagTorch}), g.cached, g.hasCached)
}

// SetState continues from an exported position; on error the generator is unchanged.
func (g *Torch) SetState(state []byte) error {
	b, err := body(state, tagTorch, mtStateLen+9, "Torch")
	if err != nil {
		return err
	}
	if err := g.mt.read(b); err != nil {
		return err
	}
	g.cached, g.hasCached = readHalf(b[mtStateLen:])
	return nil
}

// State exports the stream's position for a checkpoint.
func (g *RandomState) State() []byte {
	return appendHalf(g.mt.append([]byte{tagRandomState}), g.gauss, g.hasGauss)
}

// SetState continues from an exported position; on error the generator is unchanged.
func (g *RandomState) SetState(state []byte) error {
	b, err := body(state, tagRandomState, mtStateLen+9, "RandomState")
	if err != nil {
		return err
	}
	if err := g.mt.read(b); err != nil {
		return err
	}
	g.gauss, g.hasGauss = readHalf(b[mtStateLen:])
	return nil
}

// State exports the stream's position for a checkpoint.
func (g *Python) State() []byte { return g.mt.append([]byte{tagPython}) }

// SetState continues from an exported position; on error the generator is unchanged.
func (g *Python) SetState(state []byte) error {
	b, err := body(state, tagPython, mtStateLen, "Python")
	if err != nil {
		return err
	}
	return g.mt.read(b)
}

// State exports the stream's position for a checkpoint.
func (g *PCG64) State() []byte {
	b := []byte{tagPCG64}
	for _, w := range []uint64{g.stateHi, g.stateLo, g.incHi, g.incLo} {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	flag := byte(0)
	if g.hasHalf {
		flag = 1
	}
	return binary.LittleEndian.AppendUint32(append(b, flag), g.half)
}

// SetState continues from an exported position; on error the generator is unchanged.
func (g *PCG64) SetState(state []byte) error {
	b, err := body(state, tagPCG64, 4*8+5, "PCG64")
	if err != nil {
		return err
	}
	for i, w := range []*uint64{&g.stateHi, &g.stateLo, &g.incHi, &g.incLo} {
		*w = binary.LittleEndian.Uint64(b[8*i:])
	}
	g.hasHalf = b[32] == 1
	g.half = binary.LittleEndian.Uint32(b[33:])
	return nil
}
