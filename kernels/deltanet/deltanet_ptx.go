package deltanet

import "dataflex.dev/dataflex/driver"

func (p Params) forwardPTX(driver.Launcher, Inputs, driver.F32, []int32, driver.F32) { panic(noKernel) }
func (p Params) stepPTX(driver.Launcher, Inputs, driver.F32, []int32, driver.F32)    { panic(noKernel) }
func (p Params) backwardPTX(driver.Launcher, Inputs, driver.F32, Gradients)          { panic(noKernel) }

const noKernel = "deltanet: no kernel for a device"
