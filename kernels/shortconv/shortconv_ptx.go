package shortconv

import "dataflex.dev/dataflex/driver"

func (c Conv) forwardPTX(driver.Launcher, driver.F32, driver.F32, driver.F32, driver.F32, int) {
	panic(noKernel)
}
func (c Conv) backwardPTX(driver.Launcher, driver.F32, driver.F32, driver.F32, driver.F32, driver.F32, driver.F32, driver.F32, int) {
	panic(noKernel)
}
func (c Conv) keepPTX(driver.Launcher, driver.F32, []int32, driver.F32, int) { panic(noKernel) }
func (c Conv) stepPTX(driver.Launcher, driver.F32, []int32, driver.F32, driver.F32, driver.F32, driver.F32, int) {
	panic(noKernel)
}

const noKernel = "shortconv: no kernel for a device"
