package jieba

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"math"
	"sort"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// packed is a zstd frame of unsigned varints, which tools/golden/chinese_words.py writes.
//
//go:embed dictionary
var packed []byte

// dictionary is jieba's dict.txt, and the emissions of the hidden Markov model of its finalseg.
type dictionary struct {
	text        string  // the words in ascending order, one after the other
	ends        []int32 // of each word in text
	frequencies []int32 // of each word
	total       float64 // of all lines of dict.txt, which lists one word twice

	emissions [states]map[rune]float64 // ln P(character | state)
}

// load unpacks the dictionary, once in a process that cuts a text.
var load = sync.OnceValue(func() *dictionary {
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		panic(err)
	}
	defer unzip.Close()
	raw, err := unzip.DecodeAll(packed, nil)
	if err != nil {
		panic(fmt.Errorf("jieba's dictionary in this program: %w", err))
	}
	r := numbers{raw}
	d := &dictionary{}
	letters := r.ascending(r.next())
	d.total = float64(r.next())
	d.unpack(&r, letters, r.next())
	for s := range d.emissions {
		counted, n := r.next(), r.next()
		runes := r.ascending(n)
		d.emissions[s] = make(map[rune]float64, n)
		for _, c := range runes {
			d.emissions[s][c] = math.Log(float64(r.next()) / float64(counted))
		}
	}
	return d
})

// unpack reads n words: how many letters each shares with the one before it and how many it
// adds, by how much the first of these is greater than the letter that it replaces, the others,
// and the frequencies.
func (d *dictionary) unpack(r *numbers, letters []rune, n int) {
	lengths, first, words := r.column(n), r.column(n), strings.Builder{}
	d.ends = make([]int32, n)
	var word []int // as indices of letters
	for i, length := range lengths {
		shared, added := length>>4, length&15
		above := 0
		if shared < len(word) {
			above = word[shared] + 1
		}
		word = append(word[:shared], above+first[i])
		word = append(word, r.column(added-1)...)
		for _, letter := range word {
			words.WriteRune(letters[letter])
		}
		d.ends[i] = int32(words.Len())
	}
	d.text, d.frequencies = words.String(), make([]int32, n)
	for i := range d.frequencies {
		d.frequencies[i] = int32(r.next())
	}
}

func (d *dictionary) word(i int) string {
	if i == 0 {
		return d.text[:d.ends[0]]
	}
	return d.text[d.ends[i-1]:d.ends[i]]
}

// among returns the range of the words from lo to hi that begin with s; the first of them may
// be s itself.
func (d *dictionary) among(lo, hi int, s string) (int, int) {
	from := lo + sort.Search(hi-lo, func(i int) bool { return d.word(lo+i) >= s })
	return from, from + sort.Search(hi-from, func(i int) bool { return !strings.HasPrefix(d.word(from+i), s) })
}

// frequency is how often a word was counted; 0 where it is not listed.
func (d *dictionary) frequency(word string) int32 {
	if lo, hi := d.among(0, len(d.ends), word); lo < hi && d.word(lo) == word {
		return d.frequencies[lo]
	}
	return 0
}

// numbers are unsigned varints.
type numbers struct{ raw []byte }

func (r *numbers) next() int {
	v, n := binary.Uvarint(r.raw)
	r.raw = r.raw[n:]
	return int(v)
}

func (r *numbers) column(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = r.next()
	}
	return out
}

// ascending reads characters: the first, then how many lie between neighbours.
func (r *numbers) ascending(n int) []rune {
	out, above := make([]rune, n), 0
	for i := range out {
		out[i] = rune(above + r.next())
		above = int(out[i]) + 1
	}
	return out
}
