# Runs PROGRAM on the vectors in the folder EIGENNORM_ONNX_VECTORS, an environment variable of now or of configure time.

set(folder "$ENV{EIGENNORM_ONNX_VECTORS}")
if(folder STREQUAL "")
  set(folder "${CONFIGURED}")
endif()
if(folder STREQUAL "")
  message("EIGENNORM_ONNX_VECTORS is not set: the answers of ONNX Runtime are not part of the project")
  return()
endif()
if(NOT EXISTS "${folder}/manifest.txt")
  message(FATAL_ERROR "EIGENNORM_ONNX_VECTORS names ${folder}, where there is no manifest.txt")
endif()

execute_process(COMMAND "${PROGRAM}" "${folder}/manifest.txt" RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "conformance ended with ${status}")
endif()
