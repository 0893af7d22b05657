package sim

// Registers are stored as rows of 32 lanes; a predicate is one word of 32 bits. Values of 8
// and 16 bits are zero-extended in 32-bit rows.
type (
	row   = [32]uint32
	row64 = [32]uint64
)

const allLanes = ^uint32(0)

// kind selects which of an op's functions the main loop calls, and with which rows.
type kind uint8

const (
	kindRun    kind = iota // run: does everything itself
	kindAlu                // f32: d, a, b, c of 32 bits
	kindAlu64              // f64: d, a, b, c of 64 bits
	kindWiden              // widen: d, c of 64 bits, a, b of 32
	kindNarrow             // narrow: d, c of 32 bits, a, b of 64
	kindCmp                // cmp: a, b of 32 bits into predicate d
	kindCmp64              // cmp64: a, b of 64 bits into predicate d
	kindBranch
	kindExit
	kindNop
)

// status is the result of an op of kindRun.
type status uint8

const (
	next    status = iota // the warp continues after it
	stalled               // lanes that it names are elsewhere: they must come here first
	waiting               // the fragment is after the op, at a barrier
	yielded               // the fragment is after the op and polls: others run first
)

// op is one decoded instruction. Constants are register slots that are filled before the
// kernel starts, so the inner loops do not distinguish kinds of operands.
type op struct {
	kind       kind
	neg        bool  // runs in lanes where the predicate is false
	pred       int32 // predicate slot or -1
	d, a, b, c int32 // slots
	index      int32 // index in program.code
	statement  int32
	target     int32 // of a branch
	flops      int32 // per active lane, or per warp when warpFlops
	warpFlops  bool

	f32    func(d, a, b, c *row)
	f64    func(d, a, b, c *row64)
	widen  func(d *row64, a, b *row, c *row64)
	narrow func(d *row, a, b *row64, c *row)
	cmp    func(a, b *row) uint32
	cmp64  func(a, b *row64) uint32
	run    func(b *block, w *warp, o *op, m uint32) status

	mem *access // of memory instructions
	v   []int32 // register lists
	ext any     // data of one family of instructions
}

// space is a state space of memory.
type space uint8

const (
	spaceGeneric space = iota
	spaceGlobal
	spaceShared
	spaceConst
	spaceParam
	spaceLocal
)

func (s space) String() string {
	return [...]string{"generic", "global", "shared", "const", "param", "local"}[s]
}

// access describes the address and the values of a memory instruction.
type access struct {
	space   space
	wide    bool // the address register has 64 bits
	cluster bool // .shared::cluster: in any block of the cluster
	store   bool
	signed  bool // a load sign-extends
	size    uint8
	n       uint8 // elements
	base    int32 // slot of the address
	offset  int64
	regs    []value
	bulk    bool // an asynchronous bulk copy
	atomic  bool
	sync    bool // volatile, relaxed or stronger: races with it are intended
}

func (a *access) bytes() int { return int(a.size) * int(a.n) }

// value is a register that is loaded or stored.
type value struct {
	slot   int32
	wide   bool // a 64-bit register
	narrow bool // a 16-bit register
}

// program is a decoded kernel.
type program struct {
	code        []op
	const32     map[uint32]int32
	const64     map[uint64]int32
	floatAtomic bool // results depend on the order of blocks
	narrowSync  bool // has a synchronisation of less than the block
	usesWgmma   bool
	sinks       [3]int32
}
