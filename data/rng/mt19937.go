package rng

// mt19937 is Matsumoto and Nishimura's Mersenne Twister, the engine under torch's CPU
// generator, NumPy's RandomState and Python's random; they differ in seeding and in how they
// use its words.
type mt19937 struct {
	state [mtWords]uint32
	next  int // index of the next word to temper; mtWords = refill first
}

const (
	mtWords = 624
	mtShift = 397
)

// seedWord is init_genrand of the reference implementation.
func (m *mt19937) seedWord(seed uint32) {
	m.state[0] = seed
	for i := uint32(1); i < mtWords; i++ {
		prev := m.state[i-1]
		m.state[i] = 1812433253*(prev^prev>>30) + i
	}
	m.next = mtWords
}

// seedKey is init_by_array of the reference implementation; key is not empty.
func (m *mt19937) seedKey(key []uint32) {
	m.seedWord(19650218)
	i, j := 1, 0
	for range max(mtWords, len(key)) {
		prev := m.state[i-1]
		m.state[i] = (m.state[i] ^ (prev^prev>>30)*1664525) + key[j] + uint32(j)
		if i++; i == mtWords {
			m.state[0] = m.state[mtWords-1]
			i = 1
		}
		if j++; j == len(key) {
			j = 0
		}
	}
	for range mtWords - 1 {
		prev := m.state[i-1]
		m.state[i] = (m.state[i] ^ (prev^prev>>30)*1566083941) - uint32(i)
		if i++; i == mtWords {
			m.state[0] = m.state[mtWords-1]
			i = 1
		}
	}
	m.state[0] = 1 << 31
	m.next = mtWords
}

func (m *mt19937) refill() {
	const upper, lower, matrix = 0x80000000, 0x7fffffff, 0x9908b0df
	for i := range m.state {
		y := m.state[i]&upper | m.state[(i+1)%mtWords]&lower
		m.state[i] = m.state[(i+mtShift)%mtWords] ^ y>>1 ^ (y&1)*matrix
	}
	m.next = 0
}

// Uint32 returns the next 32-bit word.
func (m *mt19937) Uint32() uint32 {
	if m.next == mtWords {
		m.refill()
	}
	y := m.state[m.next]
	m.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

// Uint64 joins two words, the first one high (torch's random64, NumPy's next_uint64).
func (m *mt19937) Uint64() uint64 {
	high := m.Uint32()
	return uint64(high)<<32 | uint64(m.Uint32())
}

// float64 is genrand_res53, uniform on [0, 1): what NumPy and Python draw (torch's differs).
func (m *mt19937) float64() float64 {
	a, b := m.Uint32()>>5, m.Uint32()>>6
	return (float64(a)*(1<<26) + float64(b)) / (1 << 53)
}
