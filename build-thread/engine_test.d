build-thread/engine_test: spec/core/engine_test.c core/lubdub.h \
 spec/core/test.h core/tick.h core/chan.h core/waiter.h core/list.h \
 core/timer.h core/base.h core/lubdub.h core/value.h
core/lubdub.h:
spec/core/test.h:
core/tick.h:
core/chan.h:
core/waiter.h:
core/list.h:
core/timer.h:
core/base.h:
core/lubdub.h:
core/value.h:
