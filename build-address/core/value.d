build-address/core/value.o: core/value.c core/value.h core/base.h \
 core/lubdub.h
core/value.h:
core/base.h:
core/lubdub.h:
