// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.27;

import {History} from "./History.sol";
import {Owned} from "./Owned.sol";
import {Quorums} from "./Quorums.sol";

/// @title Who the operators of one AVS are, and their stakes per quorum: what a registry does whatever its curve
/// @notice The owner says who may register and how much stake each operator has; operators register their own keys. Every
/// stake and every quorum's aggregate key is kept with its history, so that a signature can be checked against a past
/// block. An operator is in a quorum while it is registered and has stake in it.
/// @dev A key belongs for ever to the operator that registered it first; stakes are kept per key. An operator that
/// deregistered may come back with the same key or with a new one. For callers of `setStakes` and `deregister`:
/// `eth_estimateGas` runs in the latest block, so right after another change it sees a checkpoint overwritten where the
/// transaction will add one, and estimates too little; give these an explicit gas limit.
///
/// A registry keeps keys and the quorums' aggregate keys, the latter under the versions of `_apkVersions`; version 0, the
/// one before any change, is the point at infinity.
abstract contract Membership is Owned {
    using History for History.Checkpoint[];

    /// @notice The owner allows `operator` to register.
    event OperatorAllowed(address indexed operator);
    /// @notice `operator` left; its stakes are zero from this block on.
    event OperatorDeregistered(address indexed operator, bytes32 indexed id);
    /// @notice The stake of the key `id` in `quorum` is now `stake`.
    event StakeChanged(bytes32 indexed id, uint8 indexed quorum, uint96 stake);

    /// @notice The owner has not allowed this operator.
    error NotAllowed(address operator);
    /// @notice The operator is registered already; it has one key.
    error AlreadyRegistered(address operator);
    /// @notice The operator is not registered.
    error NotRegistered(address operator);
    /// @notice The point at infinity is no key.
    error ZeroPubkey();
    /// @notice The key belongs to another operator.
    error PubkeyTaken(bytes32 id, address operator);
    /// @notice The proof of possession does not fit this operator and this key.
    error InvalidProofOfPossession();
    /// @notice As many stakes as quorums are needed.
    error LengthMismatch(uint256 quorums, uint256 stakes);
    /// @notice The reference block must be in the past.
    error InvalidReferenceBlock(uint32 referenceBlockNumber, uint256 currentBlock);
    /// @notice Nobody had stake in this quorum at the reference block.
    error EmptyQuorum(uint8 quorum);
    /// @notice The non-signers' ids must be strictly ascending.
    error NonSignersNotAscending();
    /// @notice No operator ever registered this non-signer's key.
    error UnknownNonSigner(bytes32 id);
    /// @notice All operators of the quorums are given as non-signers.
    error NoSigners();
    /// @notice The aggregated signature is not one over this digest by exactly these signers.
    error InvalidSignature();

    bytes32 private constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant DOMAIN_NAME_HASH = keccak256("EigenShiftOperatorRegistry");
    bytes32 private constant DOMAIN_VERSION_HASH = keccak256("1");
    bytes32 private constant REGISTRATION_TYPEHASH = keccak256("PubkeyRegistration(address operator)");

    /// @notice Whether the owner allows this operator to register.
    mapping(address operator => bool) public isAllowed;
    /// @notice The id of the operator's key; zero while it is not registered.
    mapping(address operator => bytes32 id) public operatorId;

    /// @dev Who registered the key, also after it left.
    mapping(bytes32 id => address operator) internal _holder;
    /// @dev The version of each quorum's aggregate key.
    mapping(uint8 quorum => History.Checkpoint[]) internal _apkVersions;

    /// @dev The keys of registered operators, in no order; `_position` is the index in it plus 1.
    bytes32[] private _registered;
    mapping(bytes32 id => uint256) private _position;
    /// @dev Bit q is set while the key has stake in quorum q; zero for keys that are not registered.
    mapping(bytes32 id => uint256) private _quorumsOf;

    mapping(bytes32 id => mapping(uint8 quorum => History.Checkpoint[])) private _stakes;
    mapping(uint8 quorum => History.Checkpoint[]) private _totalStakes;

    /// @notice Allows `operators` to register. Stake 0 is what takes an operator out again.
    /// @param operators addresses of operators
    function allow(address[] calldata operators) external onlyOwner {
        for (uint256 i = 0; i < operators.length; i++) {
            isAllowed[operators[i]] = true;
            emit OperatorAllowed(operators[i]);
        }
    }

    /// @notice Takes the caller out of the registry and of every quorum, from this block on.
    function deregister() external {
        bytes32 id = _registeredId(msg.sender);
        uint256 quorums = _quorumsOf[id];
        for (uint256 q = 0; quorums >> q != 0; q++) {
            if ((quorums >> q) & 1 == 1) _setStake(id, uint8(q), 0);
        }

        uint256 position = _position[id];
        bytes32 last = _registered[_registered.length - 1];
        _registered[position - 1] = last;
        _position[last] = position;
        _registered.pop();
        delete _position[id];
        delete operatorId[msg.sender];
        emit OperatorDeregistered(msg.sender, id);
    }

    /// @notice Sets a registered operator's stakes, from this block on. Quorums not named keep theirs.
    /// @param operator the operator's address
    /// @param quorums quorum numbers
    /// @param stakes its stake in each of them, in the AVS's own unit; 0 takes it out of the quorum
    function setStakes(address operator, uint8[] calldata quorums, uint96[] calldata stakes) external onlyOwner {
        if (quorums.length != stakes.length) revert LengthMismatch(quorums.length, stakes.length);
        bytes32 id = _registeredId(operator);
        for (uint256 i = 0; i < quorums.length; i++) {
            _setStake(id, quorums[i], stakes[i]);
        }
    }

    /// @notice Whether `operator` is registered now.
    function isRegistered(address operator) external view returns (bool) {
        return operatorId[operator] != 0;
    }

    /// @notice The stake of the key `id` in `quorum` at the end of `blockNumber`.
    function stakeAt(bytes32 id, uint8 quorum, uint32 blockNumber) external view returns (uint96) {
        return _stakes[id][quorum].atBlock(blockNumber);
    }

    /// @notice All stake in `quorum` at the end of `blockNumber`.
    function totalStakeAt(uint8 quorum, uint32 blockNumber) external view returns (uint96) {
        return _totalStakes[quorum].atBlock(blockNumber);
    }

    /// @notice What the proof of possession of `operator`'s key signs: EIP-712 typed data, bound to this chain and contract.
    /// @param operator the operator's address
    function pubkeyRegistrationDigest(address operator) public view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(DOMAIN_TYPEHASH, DOMAIN_NAME_HASH, DOMAIN_VERSION_HASH, block.chainid, address(this))
        );
        return keccak256(abi.encodePacked("\x19\x01", domain, keccak256(abi.encode(REGISTRATION_TYPEHASH, operator))));
    }

    /// @dev Adds the key `id` to the aggregate key of `quorum`, or takes it off, under `_apkVersions[quorum].advance()`.
    function _changeApk(bytes32 id, uint8 quorum, bool joins) internal virtual;

    /// @dev Reverts unless `operator` may register the key `id`.
    function _checkNewcomer(address operator, bytes32 id) internal view {
        if (!isAllowed[operator]) revert NotAllowed(operator);
        if (operatorId[operator] != 0) revert AlreadyRegistered(operator);
        address holder = _holder[id];
        if (holder != address(0) && holder != operator) revert PubkeyTaken(id, holder);
    }

    /// @dev Makes `operator` a registered one, whose key was checked.
    function _enter(address operator, bytes32 id) internal {
        _holder[id] = operator;
        operatorId[operator] = id;
        _registered.push(id);
        _position[id] = _registered.length;
    }

    /// @dev All stake in each quorum now.
    function _latestTotalStakes(uint8[] calldata quorums) internal view returns (uint96[] memory totalStakes) {
        totalStakes = new uint96[](quorums.length);
        for (uint256 i = 0; i < quorums.length; i++) {
            totalStakes[i] = _totalStakes[quorums[i]].latest();
        }
    }

    /// @dev The stake of the key `id` in each quorum now.
    function _latestStakes(bytes32 id, uint8[] calldata quorums) internal view returns (uint96[] memory stakes) {
        stakes = new uint96[](quorums.length);
        for (uint256 i = 0; i < quorums.length; i++) {
            stakes[i] = _stakes[id][quorums[i]].latest();
        }
    }

    /// @dev Ids of the registered keys that have stake in any of the quorums now, ascending. Insertion sort: a view for a
    /// few hundred operators at most, called off chain.
    function _sortedIds(uint8[] calldata quorums) internal view returns (bytes32[] memory ids) {
        uint256 wanted = 0;
        for (uint256 i = 0; i < quorums.length; i++) {
            wanted |= 1 << quorums[i];
        }
        ids = new bytes32[](_registered.length);
        uint256 count = 0;
        for (uint256 i = 0; i < _registered.length; i++) {
            bytes32 id = _registered[i];
            if (_quorumsOf[id] & wanted == 0) continue;
            uint256 slot = count++;
            while (slot != 0 && ids[slot - 1] > id) {
                ids[slot] = ids[slot - 1];
                slot--;
            }
            ids[slot] = id;
        }
        assembly ("memory-safe") {
            mstore(ids, count) // shortens the array to what was written
        }
    }

    /// @dev All stake in each quorum at the reference block, twice: one to take non-signers' stakes off. Reverts unless the
    /// quorums ascend, the block is past, and each quorum had stake.
    function _stakesAt(bytes calldata quorumNumbers, uint32 referenceBlockNumber)
        internal
        view
        returns (uint96[] memory signedStakes, uint96[] memory totalStakes)
    {
        Quorums.check(quorumNumbers);
        if (referenceBlockNumber >= block.number) revert InvalidReferenceBlock(referenceBlockNumber, block.number);
        signedStakes = new uint96[](quorumNumbers.length);
        totalStakes = new uint96[](quorumNumbers.length);
        for (uint256 i = 0; i < quorumNumbers.length; i++) {
            uint8 quorum = uint8(quorumNumbers[i]);
            uint96 total = _totalStakes[quorum].atBlock(referenceBlockNumber);
            // In a quorum without stake every threshold is met by nobody.
            if (total == 0) revert EmptyQuorum(quorum);
            signedStakes[i] = total;
            totalStakes[i] = total;
        }
    }

    /// @dev Takes the stakes of the non-signer `id` off `signedStakes`, in place.
    /// @param previous the id of the non-signer before it, or zero
    /// @return times in how many of the quorums it had stake, which is how often their aggregate keys have its key
    function _takeOff(
        bytes32 previous,
        bytes32 id,
        bytes calldata quorumNumbers,
        uint32 referenceBlockNumber,
        uint96[] memory signedStakes
    ) internal view returns (uint256 times) {
        if (id <= previous) revert NonSignersNotAscending();
        if (_holder[id] == address(0)) revert UnknownNonSigner(id);
        for (uint256 i = 0; i < quorumNumbers.length; i++) {
            uint96 stake = _stakes[id][uint8(quorumNumbers[i])].atBlock(referenceBlockNumber);
            if (stake == 0) continue;
            signedStakes[i] -= stake;
            times++;
        }
    }

    function _setStake(bytes32 id, uint8 quorum, uint96 stake) private {
        uint96 before = _stakes[id][quorum].latest();
        if (stake == before) return;
        _stakes[id][quorum].set(stake);
        _totalStakes[quorum].set(_totalStakes[quorum].latest() - before + stake);
        if (before == 0) {
            _quorumsOf[id] |= 1 << quorum;
            _changeApk(id, quorum, true);
        } else if (stake == 0) {
            _quorumsOf[id] &= ~(1 << quorum);
            _changeApk(id, quorum, false);
        }
        emit StakeChanged(id, quorum, stake);
    }

    function _registeredId(address operator) private view returns (bytes32 id) {
        id = operatorId[operator];
        if (id == 0) revert NotRegistered(operator);
    }
}
