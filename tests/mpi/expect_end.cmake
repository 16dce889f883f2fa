# Runs COMMAND, a job that must end by itself, and not well.
execute_process(COMMAND ${COMMAND} TIMEOUT 60 RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
message(STATUS "ended with ${result}:\n${output}")
if(result MATCHES "timeout")
  message(FATAL_ERROR "The job hangs.")
elseif(result EQUAL 0)
  message(FATAL_ERROR "The job says that all is well.")
endif()
